"""The main's process killed, and the main paused: a backup takes over, and what comes back is a backup."""

import signal
import time

import pytest

from tests.e2e.clients import clients, longest_silence
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import Made
from tests.e2e.hands import Hands


@pytest.mark.smoke
def test_killed(cluster: Cluster, hanas: Made, signals: Hands) -> None:
    demo = hanas(preset="lan")
    main, epoch = demo.status["main"], demo.status["epoch"]
    with clients(cluster, demo) as running:
        begun = time.time()
        signals.signal(demo.kubectl, demo.pod(main), signal.SIGKILL)
        takeover = demo.until_epoch_after(epoch)
        running.until_acknowledged()
        silence = longest_silence([call for call in running.history() if (call.end or 0.0) > begun - 1.0])
        print(f"killed; {silence:.2f} s without an answer; {takeover['why']}: {takeover['words']}")
        demo.until_ready()
        assert demo.status["epoch"] > epoch
    assert "PrimaryFailed" in str(takeover)
    demo.until("an Event tells it", lambda: "TakenOver" in dict(demo.events()))


@pytest.mark.parametrize("seconds", [15.0])
def test_paused_and_woken(cluster: Cluster, hanas: Made, signals: Hands, seconds: float) -> None:
    """Shorter than the kubelet's patience: the process that wakes up is the one that was the main."""
    demo = hanas()  # with patient timings: the successor, too, could be slow for a moment
    main, epoch = demo.status["main"], demo.status["epoch"]
    with clients(cluster, demo) as running:
        begun = time.monotonic()
        signals.signal(demo.kubectl, demo.pod(main), signal.SIGSTOP)
        successor = demo.until_main_is_not(main)
        running.until_acknowledged()
        while time.monotonic() - begun < seconds:
            running.until_acknowledged()
        restarts = _restarts(demo.kubectl.get("pod", demo.pod(main)))
        signals.signal(demo.kubectl, demo.pod(main), signal.SIGCONT)
        running.until_acknowledged()
        assert demo.until_ready() == successor, "who wakes up is a backup"
        assert _restarts(demo.kubectl.get("pod", demo.pod(main))) == restarts, "it woke up, and was not restarted"
    assert demo.status["epoch"] > epoch


def _restarts(pod: dict[str, object] | None) -> int:
    assert pod is not None
    status = pod["status"]
    assert isinstance(status, dict)
    return int(status["containerStatuses"][0]["restartCount"])
