"""Another release of the operator: pods stay as they are, but where they are to follow; then one HANas at a time."""

import pytest

from tests.e2e.clients import clients
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import Made
from tests.e2e.hanas import HANas
from tests.e2e.operators import Operator


def _pods(demo: HANas) -> dict[str, str]:
    """The images by the pods' uids."""
    pods = demo.kubectl.list("pods", f"hanas.dev/cluster={demo.name}")
    return {pod["metadata"]["uid"]: pod["spec"]["containers"][0]["image"] for pod in pods}


def _update(demo: HANas) -> tuple[str, str]:
    """When the last update of its workers began, and when it was done."""
    revisions = demo.kubectl.list("controllerrevisions", f"hanas.dev/cluster={demo.name}")
    begin = max(revision["metadata"]["creationTimestamp"] for revision in revisions)
    (updated,) = [each for each in demo.status["conditions"] if each["type"] == "Updated"]
    return begin, updated["lastTransitionTime"]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_pods_follow_only_where_they_are_to(cluster: Cluster, operator: Operator, hanas: Made) -> None:
    image, other = cluster.image("hanas"), f"{cluster.image('hanas')}-next"
    stays = hanas("stays", workers=2, overseer={"replicas": 1})
    follow = [
        hanas(name, workers=2, overseer={"replicas": 1}, updatePolicy="Automatic") for name in ("first", "second")
    ]
    before = _pods(stays)

    def have_followed() -> bool:
        done = all(each.condition("Updated")[1] == "AllUpdated" for each in follow)
        return done and all(set(_pods(each).values()) == {other} for each in follow)

    try:
        with clients(cluster, follow[0]) as running:
            operator.install(f"image.tag={cluster.tag}-next")
            follow[0].until("both have followed", have_followed, 300.0)
            for each in (*follow, stays):
                each.until_ready()
            running.until_acknowledged()
        (_, end), (begin, _) = sorted(_update(each) for each in follow)
        assert end <= begin, "one at a time"
        assert _pods(stays) == before
        assert stays.status["image"] == image
        assert stays.condition("Updated")[:2] == ("True", "UpdateHeld")
        stays.apply(image=other)
        stays.until("every pod runs the other image", lambda: set(_pods(stays).values()) == {other}, 300.0)
        stays.until_ready()
    finally:
        operator.install()
