"""Names and folders used twice: orphans, a second HANas on one claim, a name used again at once; and pauses."""

import pytest

from tests.e2e.clients import clients
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import Made, common
from tests.e2e.hanas import HANas
from tests.e2e.waiting import eventually, holds


def _pods(demo: HANas) -> set[str]:
    return {pod["metadata"]["uid"] for pod in demo.kubectl.list("pods", f"hanas.dev/cluster={demo.name}")}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_orphans_are_adopted_and_go_on(cluster: Cluster, hanas: Made) -> None:
    demo = hanas()
    pods, folder = _pods(demo), demo.status["folderId"]
    with clients(cluster, demo, through_main=True) as running:
        demo.kubectl("delete", "hanas", demo.name, "--cascade=orphan", "--wait=true")
        owners = (demo.kubectl.get("statefulset", f"{demo.name}-worker") or {})["metadata"].get("ownerReferences")
        assert not owners
        demo.apply()
        demo.until_ready()
        running.until_acknowledged()
    assert (_pods(demo), demo.status["folderId"]) == (pods, folder)
    demo.delete()
    eventually("its objects go with it", lambda: not demo.kubectl.list("pods", f"hanas.dev/cluster={demo.name}"))


def test_a_second_one_on_the_same_claim_is_refused(cluster: Cluster, hanas: Made) -> None:
    demo = hanas(workers=2)
    storage = {"existingClaim": f"{demo.name}-data"}
    thief = HANas(demo.kubectl, "thief", {**common(cluster), "storage": storage, "reclaim": "Retain"})
    with clients(cluster, demo) as running:
        thief.apply()
        thief.until("it says why", lambda: thief.condition("Ready")[:2] == ("False", "ClaimInUse"))
        assert f"the HANas {demo.name} is older" in thief.condition("Degraded")[2]
        holds("it gets no pods", lambda: not thief.kubectl.list("pods", "hanas.dev/cluster=thief"), 5.0)
        running.until_acknowledged()
    demo.until_ready()


@pytest.mark.timeout(900)
def test_a_name_used_again_at_once_gets_a_folder_of_its_own(cluster: Cluster, hanas: Made) -> None:
    demo = hanas(workers=2)
    former = demo.status["folderId"]
    demo.kubectl("delete", "hanas", demo.name, "--wait=false")
    demo.apply()
    demo.until("the new one is made", lambda: demo.status.get("folderId", former) not in {"", former}, 240.0)
    demo.until_ready()
    with clients(cluster, demo):
        pass
    assert demo.condition("StorageReady")[0] == "True"


@pytest.mark.long
def test_a_paused_one_heals_its_timed_cuts(hanas: Made) -> None:
    demo = hanas(workers=2)
    cut = {"name": "wire", "source": "worker-0", "target": "worker-1", "duration": "40s"}
    demo.apply(linkFailures=[cut])
    demo.until("the link is cut", lambda: demo.failure("wire")[0] == "Active")
    demo.kubectl("annotate", "hanas", demo.name, "hanas.dev/paused=true")
    demo.until("the cut is observed", lambda: demo.condition("LinkHealthy")[0] == "False", 60.0)
    demo.until("it heals", lambda: demo.failure("wire")[0] == "Healed", 60.0)
    demo.until("keep-alives come through", lambda: demo.condition("LinkHealthy")[0] == "True", 60.0)
    demo.kubectl("annotate", "hanas", demo.name, "hanas.dev/paused-")
    demo.until_ready()
