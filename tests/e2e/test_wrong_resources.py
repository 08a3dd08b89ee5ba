"""What a user can get wrong: refused by the API server with words, or a condition that says what to do."""

from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.commands import CommandFailed
from tests.e2e.conftest import Made, common
from tests.e2e.hanas import HANas
from tests.e2e.kubectl import Kubectl
from tests.e2e.operators import Operator

_CUT = {"name": "wire", "source": "worker-0", "target": "worker-1"}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"wokers": 3}, "unknown field"),
        ({"workers": -1}, "should be greater than or equal to 0"),
        ({"linkFailures": [{**_CUT, "target": "worker-0"}]}, "source and target must be different"),
        ({"linkFailures": [{**_CUT, "target": "worker-7"}]}, "target must be one of the workers"),
        ({"linkFailures": [{**_CUT, "source": "worker-7"}]}, "source must be one of the workers"),
        ({"linkFailures": [{**_CUT, "duration": "-3s"}]}, "duration"),
        ({"linkFailures": [{**_CUT, "duration": "0s"}]}, "must be longer than nothing"),
        ({"linkFailures": [_CUT, _CUT]}, "Duplicate value"),
        ({"preset": "wan"}, "Unsupported value"),
        ({"storage": {"size": "much"}}, "size"),
        ({"storage": {"existingClaim": "a", "storageClassName": "b"}}, "give either storageClassName or existingClaim"),
    ],
)
def test_refused_by_the_api_server(operator: Operator, namespace: Kubectl, spec: dict[str, Any], words: str) -> None:
    with pytest.raises(CommandFailed, match=words):
        HANas(namespace, "wrong", spec).apply()


def test_the_volume_of_a_cluster_cannot_be_exchanged(hanas: Made, cluster: Cluster) -> None:
    demo = hanas(workers=1)
    with pytest.raises(CommandFailed, match="the data is in that volume"):
        demo.apply(storage={**common(cluster)["storage"], "storageClassName": "another"})
    with pytest.raises(CommandFailed, match="can only grow"):
        HANas(demo.kubectl, "demo", {**common(cluster), "storage": {**demo.spec["storage"], "size": "1Mi"}}).apply()


def _claim(name: str, mode: str, cluster: Cluster) -> dict[str, Any]:
    spec: dict[str, Any] = {"accessModes": [mode], "resources": {"requests": {"storage": "64Mi"}}}
    if cluster.storage_class:
        spec["storageClassName"] = cluster.storage_class
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def test_told_by_a_condition_and_mended(operator: Operator, namespace: Kubectl, cluster: Cluster) -> None:
    """A claim that is missing, and one that only one node can use; the operator lives on."""
    restarts = _restarts(operator)
    storage = {"existingClaim": "theirs"}
    theirs = HANas(namespace, "theirs", {**common(cluster), "storage": storage, "reclaim": "Retain", "workers": 1})
    theirs.apply()
    theirs.until("the missing claim is named", lambda: "theirs" in theirs.condition("StorageReady")[2])
    assert theirs.condition("StorageReady")[0] == "False"
    assert not namespace.list("statefulsets")

    namespace.apply(_claim("theirs", "ReadWriteMany", cluster))
    theirs.until_ready()
    theirs.delete()
    assert namespace.get("pvc", "theirs") is not None, "what the operator did not make, it does not delete"

    namespace.apply(_claim("lonely", "ReadWriteOnce", cluster))
    lonely = HANas(namespace, "lonely", {**theirs.spec, "storage": {"existingClaim": "lonely"}})
    lonely.apply()
    lonely.until("the access mode is named", lambda: "ReadWriteMany" in lonely.condition("StorageReady")[2])

    tokens = HANas(namespace, "tokens", {**common(cluster), "clientTokenSecret": {"name": "nowhere"}})
    tokens.apply()
    tokens.until("the missing Secret is named", lambda: "nowhere" in tokens.condition("Degraded")[2])

    unknown = HANas(namespace, "unknown", {**common(cluster), "storage": {"storageClassName": "no-such-class"}})
    unknown.apply()
    unknown.until("the unknown class is named", lambda: "no-such-class" in unknown.condition("StorageReady")[2])
    assert _restarts(operator) == restarts


def test_an_object_of_somebody_else_is_left_alone(operator: Operator, namespace: Kubectl, cluster: Cluster) -> None:
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "taken-main"},
        "spec": {"ports": [{"port": 80}], "selector": {"app": "theirs"}},
    }
    namespace.apply(theirs)
    taken = HANas(namespace, "taken", common(cluster))
    taken.apply()
    taken.until("the name is told", lambda: "taken-main" in taken.condition("Degraded")[2])
    assert (namespace.get("service", "taken-main") or {})["spec"]["selector"] == {"app": "theirs"}


def _restarts(operator: Operator) -> int:
    return sum(pod["status"]["containerStatuses"][0]["restartCount"] for pod in operator.pods())
