"""The main is cut off from everybody but the folder: what it does is a matter of policy."""

from tests.e2e.clients import clients
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import Made
from tests.e2e.waiting import eventually, holds


def _island(main: str) -> list[dict[str, object]]:
    return [{"name": "island", "source": main, "target": "*", "planes": ["link", "client"]}]


def test_with_step_down_it_hands_over_to_one_who_is_not(cluster: Cluster, hanas: Made) -> None:
    demo = hanas(isolationPolicy="StepDown")
    main, epoch = demo.status["main"], demo.status["epoch"]
    with clients(cluster, demo) as running:
        demo.apply(linkFailures=_island(main))
        # Not asked of the overseer: through the API server it is out of reach while it must be so for a worker.
        demo.until_main_is_not(main)
        assert demo.status["epoch"] == epoch + 1
        demo.until("it says why", lambda: "HandedOver" in dict(demo.events()))
        running.until_acknowledged()
        demo.apply(linkFailures=[])
        demo.until_ready()


def test_with_stay_it_keeps_its_place(cluster: Cluster, hanas: Made) -> None:
    demo = hanas(isolationPolicy="Stay")
    main, epoch = demo.status["main"], demo.status["epoch"]
    with clients(cluster, demo) as running:
        demo.apply(linkFailures=_island(main))
        alert = eventually("it says that it is isolated", lambda: demo.alerts().get(("PrimaryIsolated", main)))
        assert alert["severity"] == "urgent"
        holds("no takeover", lambda: demo.status["epoch"] == epoch, 15.0)
        demo.apply(linkFailures=[])
        assert demo.until_ready() == main
        running.until_acknowledged()
    assert demo.status["epoch"] == epoch
