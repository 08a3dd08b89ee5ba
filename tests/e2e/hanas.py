"""One HANas resource, as kubectl shows it, and its overseer, reached through the API server."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.kubectl import Kubectl, Resource
from tests.e2e.waiting import eventually

MAIN = "hanas.dev/role=main"
_ASK_OVER_TLS = """
import os, ssl, sys, urllib.request
context = ssl.create_default_context(cafile=os.environ["HANAS_TLS_CA"])
context.load_cert_chain(os.environ["HANAS_TLS_CERT"], os.environ["HANAS_TLS_KEY"])
print(urllib.request.urlopen("https://localhost:" + sys.argv[1], timeout=10, context=context).read().decode())
"""


@dataclass
class HANas:
    """A resource in the namespace of `kubectl`."""

    kubectl: Kubectl
    name: str
    spec: Resource = field(default_factory=dict)

    # ------------------------------------------------------------------ what is wanted

    def manifest(self) -> Resource:
        return {
            "apiVersion": "hanas.dev/v1alpha1",
            "kind": "HANas",
            "metadata": {"name": self.name, "namespace": self.kubectl.namespace},
            "spec": self.spec,
        }

    def apply(self, **changes: Any) -> None:
        """Apply the resource, with these fields of the spec changed; None takes one away."""
        self.spec = {name: value for name, value in {**self.spec, **changes}.items() if value is not None}
        self.kubectl.apply(self.manifest())

    def delete(self) -> None:
        self.kubectl("delete", "hanas", self.name, "--wait=true")

    # ------------------------------------------------------------------ what is

    @property
    def resource(self) -> Resource:
        return self.kubectl.get("hanas", self.name) or {}

    @property
    def status(self) -> Resource:
        return dict(self.resource.get("status", {}))

    def condition(self, kind: str) -> tuple[str, str, str]:
        """(status, reason, message) of a condition; empty as long as there is none."""
        for found in self.status.get("conditions", []):
            if found["type"] == kind:
                return found["status"], found["reason"], found["message"]
        return "", "", ""

    def is_observed(self) -> bool:
        """Tell whether the operator has looked at the present spec."""
        resource = self.resource
        return bool(resource.get("status", {}).get("observedGeneration") == resource["metadata"]["generation"])

    def failure(self, name: str) -> tuple[str, str]:
        """(state, observed) of a link failure."""
        for found in self.status.get("linkFailures", []):
            if found["name"] == name:
                return found["state"], found["observed"]
        return "", ""

    def pod(self, member: str) -> str:
        return f"{self.name}-{member}"

    def node_of(self, member: str) -> str:
        pod = self.kubectl.get("pod", self.pod(member))
        assert pod is not None
        return str(pod["spec"]["nodeName"])

    @property
    def labelled_main(self) -> list[str]:
        """The pods that the Service of the main leads to."""
        return [pod["metadata"]["name"] for pod in self.kubectl.list("pods", f"hanas.dev/cluster={self.name},{MAIN}")]

    def overseer(self, path: str) -> Any:
        """What the overseer answers to a GET."""
        return json.loads(self._get(f"deployment/{self.name}-overseer", f"services/{self.name}-overseer:4000", path))

    def worker(self, member: str, path: str) -> str:
        """What a worker answers to a GET."""
        return self._get(self.pod(member), f"pods/{self.pod(member)}:3001", path)

    @property
    def scheme(self) -> str:
        """Of the URLs of its ports."""
        return "https" if "tls" in self.spec else "http"

    def _get(self, program: str, served: str, path: str) -> str:
        """GET through the API server; over TLS have the program ask itself, since the API server has no certificate."""
        if self.scheme == "https":
            port = served.rpartition(":")[2]
            return self.kubectl("exec", program, "--", "python", "-c", _ASK_OVER_TLS, f"{port}{path}")
        return self.kubectl.raw(f"/api/v1/namespaces/{self.kubectl.namespace}/{served}/proxy{path}")

    def takeovers(self) -> list[Resource]:
        """The history of epochs, oldest first."""
        return sorted(self.overseer("/v1/takeovers")["takeovers"], key=lambda takeover: int(takeover["epoch"]))

    def alerts(self) -> dict[tuple[str, str], Resource]:
        """The open alerts of the status, by kind and whom they are about."""
        return {(alert["kind"], alert["about"]): alert for alert in self.status.get("alerts", [])}

    def events(self) -> list[tuple[str, str]]:
        """(reason, note) of the Events about this resource, in the words of `kubectl describe`."""
        return [
            (event["reason"], event["note"])
            for event in self.kubectl.list("events.events.k8s.io")
            if event["regarding"].get("name") == self.name and event["regarding"].get("kind") == "HANas"
        ]

    # ------------------------------------------------------------------ waiting

    def until(self, what: str, condition: Callable[[], bool], seconds: float = 120.0) -> None:
        eventually(f"{self.name}: {what}", condition, seconds)

    def until_ready(self) -> str:
        """Wait until it is as wanted, and everybody hears the main; return the main."""

        def well() -> str | None:
            resource = self.resource
            status = resource.get("status", {})
            states = {found["type"]: found["status"] for found in status.get("conditions", [])}
            calm = states.get("Ready") == "True" and states.get("Degraded") == "False"
            heard = states.get("LinkHealthy") == "True" or self.spec.get("workers", 3) == 1
            current = status.get("observedGeneration") == resource["metadata"]["generation"]
            there = status.get("readyWorkers") == self.spec.get("workers", 3) == status.get("workers")
            labelled = self.labelled_main == [self.pod(status["main"])] if status.get("main") else False
            return str(status["main"]) if calm and heard and current and there and labelled else None

        try:
            return eventually(f"{self.name} is ready", well, 180.0)
        except AssertionError as error:
            raise AssertionError(f"{error}; its status: {json.dumps(self.status)}") from None

    def until_main_is_not(self, former: str) -> str:
        """Wait until another one serves, as the resource and the Service tell; return it."""

        def moved() -> str | None:
            status = self.status
            main = str(status.get("main", ""))
            known = main not in {"", former} and self.condition("Ready")[0] == "True"
            return main if known and self.labelled_main == [self.pod(main)] else None

        return eventually(f"{self.name}: another main than {former}", moved)

    def until_epoch_after(self, epoch: int) -> Resource:
        """Wait for a later epoch; return its entry in the history."""

        def later() -> Resource | None:
            return next((takeover for takeover in self.takeovers() if takeover["epoch"] > epoch), None)

        return eventually(f"{self.name}: an epoch after {epoch}", later)
