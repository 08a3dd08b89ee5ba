"""Every process answers at all times, whatever the file server does, and ends when it is told to."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanas_core.members.timing import CLOUD
from tests.nfs.faults import fault
from tests.nfs.never_deaf import KEY, OVERSEER, Cluster, asked

_HOLD_SECONDS = 30.0
"""An epoch ends after half of it: whoever waits for the server from then on is deaf for the other half."""
_MOST_SILENCE_SECONDS = 12.0
"""Usually 2: one processor for server, clients, cluster and those who ask. It is little beside the half of a fault."""
_GIVEN_UP_SECONDS = CLOUD.folder_timeout + _MOST_SILENCE_SECONDS
_LEAVE_SECONDS = CLOUD.folder_timeout + 10.0
"""A second of that is for closing files, the rest is what four processes take from one processor as they end."""

pytestmark = [
    pytest.mark.skipif("HANAS_NFS_FAULT" not in os.environ, reason="HANAS_NFS_FAULT is not set: no faults"),
    pytest.mark.timeout(600),
]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    try:
        for name in (OVERSEER, *made.workers):
            made.start(name)
        made.main()
        yield made
    finally:
        made.kill()
        for log in sorted(tmp_path.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text()[-4000:]}")


def test_nobody_is_deaf_while_the_main_is_cut_off_and_the_server_is_away(cluster: Cluster) -> None:
    for name in ("first", "second"):
        main = cluster.main()
        cluster.put(name, "before")
        with asked(cluster, f"{main} cut off") as cut:
            fault("cut", main[1:])
            time.sleep(_HOLD_SECONDS)
            fault("heal", main[1:])
            cluster.put(name, "after")
        cluster.main()
        with asked(cluster, "the server stopped") as stopped:
            fault("server-stop")
            time.sleep(_HOLD_SECONDS)
            fault("server-start")
            cluster.put(name, "again")
        for silence in (cut, stopped):
            assert silence.pop(KEY) < _GIVEN_UP_SECONDS
            assert max(silence.values()) < _MOST_SILENCE_SECONDS


def test_everyone_ends_in_time_while_the_server_is_away(cluster: Cluster) -> None:
    main = cluster.main()
    cluster.put("a", "b")
    fault("server-stop")
    try:
        time.sleep(2.0)
        began = time.monotonic()
        took: dict[str, float] = {}
        for process in cluster.processes.values():
            process.send_signal(signal.SIGTERM)
        while len(took) < len(cluster.processes) and time.monotonic() < began + _LEAVE_SECONDS:
            for name, process in cluster.processes.items():
                if name not in took and process.poll() is not None:
                    took[name] = round(time.monotonic() - began, 2)
            time.sleep(0.05)
        print(f"ended after SIGTERM, main {main}: {took}", flush=True)
        assert took.keys() == cluster.processes.keys()
        assert {process.returncode for process in cluster.processes.values()} == {0}
    finally:
        fault("server-start")
