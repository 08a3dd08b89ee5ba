"""What the state of a HANas tells: a change is told as made when every pod runs it, and drift is put right."""

import pytest

from tests.e2e.clients import clients
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import Made
from tests.e2e.hanas import HANas
from tests.e2e.waiting import eventually, holds


def _images(demo: HANas) -> set[str]:
    pods = demo.kubectl.list("pods", f"hanas.dev/cluster={demo.name}")
    return {pod["spec"]["containers"][0]["image"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}


@pytest.mark.timeout(900)
def test_ready_waits_for_the_change(cluster: Cluster, hanas: Made) -> None:
    demo = hanas()
    image = f"{cluster.image('hanas')}-next"
    with clients(cluster, demo) as running:
        demo.apply(image=image)
        demo.kubectl("wait", "hanas", demo.name, "--for=condition=Ready", "--timeout=5m", seconds=310)
        assert _images(demo) == {image}
        assert (demo.status["image"], demo.status["updatedWorkers"]) == (image, 3)
        assert demo.condition("Updated")[:2] == ("True", "AllUpdated")
        running.until_acknowledged()
    demo.until_ready()


def test_drift_in_maps_is_put_right_and_equal_amounts_are_no_drift(cluster: Cluster, hanas: Made) -> None:
    demo = hanas(workers=2, resources={"requests": {"cpu": "0.05", "memory": "131072Ki"}})

    def version(kind: str, name: str) -> str:
        return str((demo.kubectl.get(kind, name) or {})["metadata"]["generation"])

    def selector() -> dict[str, str]:
        return dict((demo.kubectl.get("service", f"{demo.name}-main") or {})["spec"]["selector"])

    before, statefulset = selector(), f"{demo.name}-worker"
    generation = version("statefulset", statefulset)
    with clients(cluster, demo, through_main=True) as running:
        demo.kubectl.patch("service", f"{demo.name}-main", {"spec": {"selector": {"app": "nobody"}}})
        eventually("the selector is as before", lambda: selector() == before)
        running.until_acknowledged()
        holds("the StatefulSet is left", lambda: version("statefulset", statefulset) == generation, 8.0)


def test_a_refused_growth_of_the_volume_is_taken_back(cluster: Cluster, hanas: Made) -> None:
    demo = hanas(workers=1)
    storage = demo.spec["storage"]
    demo.until("the size is told", lambda: demo.status.get("claimSize") == storage["size"])
    demo.apply(storage={**storage, "size": "128Mi"})
    demo.until("the refusal is told", lambda: demo.condition("Updated")[:2] == ("False", "Rejected"))
    assert demo.condition("Degraded")[0] == "True"
    demo.apply(storage=storage)
    demo.until_ready()
