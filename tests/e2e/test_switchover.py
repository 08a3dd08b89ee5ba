"""A main that is named, and a cluster that sleeps and wakes up, under load: nothing is lost."""

import pytest

from tests.e2e.clients import clients, longest_silence
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import Made
from tests.e2e.hanas import HANas
from tests.e2e.kubectl import Resource

ANNOTATION = "hanas.dev/switchover"


def switched(demo: HANas) -> tuple[str, str]:
    """(worker, state) of the switchover in the status."""
    told = demo.status.get("switchover", {})
    return told.get("to", ""), told.get("state", "")


def endpoints(demo: HANas) -> list[Resource]:
    """Where the Service of the main leads, which Kubernetes changes a little after the pods."""
    slices = demo.kubectl.list("endpointslices", f"kubernetes.io/service-name={demo.name}-main")
    return [endpoint for each in slices for endpoint in each.get("endpoints") or []]


@pytest.mark.timeout(600)
def test_the_annotation_names_the_main_and_zero_workers_hibernate(cluster: Cluster, hanas: Made) -> None:
    demo = hanas()
    main, epoch = demo.status["main"], demo.status["epoch"]
    successor = next(name for name in ("worker-0", "worker-1") if name != main)
    with clients(cluster, demo) as running:
        demo.kubectl("annotate", "hanas", demo.name, f"{ANNOTATION}={successor}")
        assert demo.until_main_is_not(main) == successor
        demo.until("it is done", lambda: switched(demo) == (successor, "Done"))
        running.until_acknowledged()
        takeover = demo.until_epoch_after(epoch)
        assert (takeover["member"], takeover["why"]) == (successor, "hand-over")
        assert demo.until_ready() == successor, "and the former main is a backup"
        print(f"longest time without an answer {longest_silence(running.history()):.2f} s")
        demo.kubectl("annotate", "hanas", demo.name, f"{ANNOTATION}=worker-7", "--overwrite")
        demo.until("it is refused", lambda: switched(demo) == ("worker-7", "Refused"))

        demo.kubectl("scale", "hanas", demo.name, "--replicas=0")
        demo.until("it sleeps", lambda: demo.condition("Ready")[:2] == ("False", "Hibernated"))
        assert demo.condition("Degraded")[0] == "False"
        assert demo.kubectl.list("pods", f"hanas.dev/cluster={demo.name}") == []
        demo.until("the Service of the main leads nowhere", lambda: not endpoints(demo))
        demo.kubectl("scale", "hanas", demo.name, "--replicas=3")
        demo.until_ready()
        running.until_acknowledged()
