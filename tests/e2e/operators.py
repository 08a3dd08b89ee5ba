"""The operator, installed by its chart as a user does it."""

import time
from dataclasses import dataclass

from tests.e2e.cluster import Cluster
from tests.e2e.kubectl import Kubectl, Resource

NAMESPACE, RELEASE = "hanas-system", "hanas"
CHART = "charts/hanas"
REPLICAS = 2
_RUN = f"run-{time.time_ns()}"
"""In the pod's annotations: an operator of an earlier run, of the same tag, is replaced."""


@dataclass(frozen=True)
class Operator:
    """The release of the chart."""

    cluster: Cluster
    kubectl: Kubectl

    def install(self, *values: str, chart: str = CHART, suffix: str = "") -> None:
        """Install it, or bring it up to date; `values` are NAME=VALUE, `suffix` is that of the images' tag."""
        registry, tag = self.cluster.registry.rstrip("/"), self.cluster.tag + suffix
        settings = [f"registry={registry}", f"image.tag={tag}", f"operator.image.tag={tag}", *values]
        settings.append(f"operator.podAnnotations.run={_RUN}")
        if self.cluster.storage_class:
            settings.append(f"tests.storage.storageClassName={self.cluster.storage_class}")
        words = [word for setting in settings for word in ("--set", setting)]
        self.kubectl.helm("upgrade", "--install", RELEASE, chart, "--create-namespace", "--wait", *words)

    def test(self) -> str:
        """Run the chart's own test; return what its pod said."""
        said = self.kubectl.helm("test", RELEASE, "--timeout", "5m", seconds=330)
        # Not `helm test --logs`: it asks for the logs of every hook, also of the HANas that the test makes and removes.
        return said + self.kubectl("logs", "hanas-operator-test")

    def nodes(self) -> set[str]:
        """Where its pods run, all of them ready."""
        pods = self.pods()
        conditions = [each for pod in pods for each in pod["status"].get("conditions", [])]
        ready = sum(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
        return {pod["spec"]["nodeName"] for pod in pods} if ready == len(pods) == REPLICAS else set()

    def uninstall(self) -> None:
        self.kubectl.helm("uninstall", RELEASE, "--wait")

    def pods(self) -> list[Resource]:
        return self.kubectl.list("pods", "app.kubernetes.io/name=hanas-operator")

    def kill(self) -> None:
        """Delete its pods by force; the Deployment makes others."""
        for pod in self.pods():
            self.kubectl("delete", "pod", pod["metadata"]["name"], "--force", "--grace-period=0", "--wait=false")


def of(cluster: Cluster) -> Operator:
    return Operator(cluster, cluster.kubectl.within(NAMESPACE))
