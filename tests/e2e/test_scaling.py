"""More workers and fewer, with the main among those that go."""

import pytest

from tests.e2e.clients import clients
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import Made
from tests.e2e.hanas import HANas


def _move_main_to(demo: HANas, members: set[str]) -> str:
    """Delete mains in order until one of these is it."""
    for _ in range(12):
        main = demo.until_ready()
        if main in members:
            return main
        demo.kubectl("delete", "pod", demo.pod(main), "--wait=true", seconds=90)
    raise AssertionError(f"none of {members} became the main")


@pytest.mark.timeout(900)
def test_from_three_to_five_to_two(cluster: Cluster, hanas: Made) -> None:
    demo = hanas()
    with clients(cluster, demo) as running:
        demo.kubectl("scale", "hanas", demo.name, "--replicas=5")
        demo.spec["workers"] = 5
        main = _move_main_to(demo, {"worker-2", "worker-3", "worker-4"})
        epoch = demo.status["epoch"]

        demo.apply(workers=2)
        takeover = demo.until_epoch_after(epoch)
        assert takeover["why"] == "hand-over", f"{main} leaves in order: {takeover}"
        assert demo.until_ready() in {"worker-0", "worker-1"}
        running.until_acknowledged()
        # Not all of them need be hand-overs: the successor may be one that is stopped in the same moment.
        print(", ".join(f"{each['epoch']} {each['member']} {each['why']}" for each in demo.takeovers()))
    demo.until("nobody misses who has gone", lambda: not demo.status.get("alerts"), 60.0)
