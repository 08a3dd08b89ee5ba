"""The folder takes no more writes: of the main, of a backup, of everybody."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from tests.e2e.clients import clients
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import Made
from tests.e2e.hanas import HANas
from tests.e2e.hands import Hands
from tests.e2e.waiting import holds

WORKERS = ("worker-0", "worker-1", "worker-2")
UNAVAILABLE = "FolderUnavailable"


@contextmanager
def _read_only(signals: Hands, demo: HANas, members: Sequence[str]) -> Iterator[None]:
    (worker,) = (demo.kubectl.get("statefulset", f"{demo.name}-worker") or {})["spec"]["template"]["spec"]["containers"]
    (folder,) = [each["mountPath"] for each in worker["volumeMounts"] if each["name"] == "folder"]
    for member in members:
        signals.read_only(demo.kubectl, demo.pod(member), folder, True)
    try:
        yield
    finally:
        for member in members:
            signals.read_only(demo.kubectl, demo.pod(member), folder, False)


def _told(demo: HANas, members: Sequence[str]) -> None:
    """By alert, condition and Event."""
    for member in members:
        demo.until(f"{member} says so", lambda: (UNAVAILABLE, member) in demo.alerts(), 60.0)  # noqa: B023
        assert demo.alerts()[UNAVAILABLE, member]["severity"] == "critical"
    demo.until("a condition tells it", lambda: demo.condition("StorageReady")[:2] == ("False", UNAVAILABLE))
    assert "mount" in demo.condition("StorageReady")[2]
    demo.until("an Event tells it", lambda: UNAVAILABLE in dict(demo.events()))


def _until_well(demo: HANas) -> str:
    main = demo.until_ready()
    demo.until("all alerts are cleared", lambda: not demo.alerts())
    demo.until("the condition is well again", lambda: demo.condition("StorageReady")[0] == "True")
    return main


@pytest.mark.long
def test_for_a_backup_nobody_takes_over(cluster: Cluster, hanas: Made, signals: Hands) -> None:
    demo = hanas()
    main, epoch = demo.status["main"], demo.status["epoch"]
    backup = min(set(WORKERS) - {main})
    with clients(cluster, demo) as running:
        with _read_only(signals, demo, [backup]):
            _told(demo, [backup])
            running.until_acknowledged()
            holds("nobody takes over", lambda: demo.status["epoch"] == epoch, 10.0)
        assert (_until_well(demo), demo.status["epoch"]) == (main, epoch)


def test_for_the_main_a_backup_takes_over(cluster: Cluster, hanas: Made, signals: Hands) -> None:
    demo = hanas()
    main, epoch = demo.status["main"], demo.status["epoch"]
    with clients(cluster, demo) as running:
        with _read_only(signals, demo, [main]):
            takeover = demo.until_epoch_after(epoch)
            print(f"folder read-only at the main: {takeover['why']}: {takeover['words']}")
            demo.until("another one serves", lambda: demo.status["main"] not in {"", main})
            _told(demo, [main])
            running.until_acknowledged()
        assert _until_well(demo) != main


@pytest.mark.timeout(900)
def test_for_all_nobody_can_take_over_and_nothing_is_lost(cluster: Cluster, hanas: Made, signals: Hands) -> None:
    demo = hanas()
    with clients(cluster, demo) as running:
        with _read_only(signals, demo, WORKERS):
            _told(demo, WORKERS)
            before = len(running.acknowledged())
            holds("nothing is acknowledged", lambda: len(running.acknowledged()) == before, 10.0)
        _until_well(demo)
        running.until_acknowledged()
