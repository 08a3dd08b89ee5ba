"""The main's pod deleted by force: how long until a client that knows only the Service of the main writes again."""

import os
import statistics
import time

import pytest

from tests.e2e.clients import clients, longest_silence
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import Made
from tests.e2e.labels import LabelWatch

TIMES = int(os.environ.get("HANAS_E2E_FAILOVERS", "20"))
TARGET_SECONDS = {"failover": 2.0, "label": 1.0}
"""For the medians. Printed beside them and not asserted: it is the machine that would fail."""


@pytest.mark.timeout(1200)
def test_writes_go_on_through_the_service_of_the_main(cluster: Cluster, hanas: Made) -> None:
    demo = hanas(preset="lan")
    main = demo.status["main"]
    silences: list[float] = []
    moves: list[float] = []
    with clients(cluster, demo, through_main=True) as running, LabelWatch(demo) as labels:
        for _ in range(TIMES):
            begun, epoch = time.time(), demo.status["epoch"]
            demo.kubectl("delete", "pod", demo.pod(main), "--force", "--grace-period=0", "--wait=false")
            takeover = demo.until_epoch_after(epoch)
            running.until_acknowledged()
            # Everything that was answered since then; the longest silence in it is what the failover cost.
            answered = [call for call in running.history() if call.end is not None and call.end > begun - 1.0]
            silences.append(longest_silence(answered))
            moves.append(labels.moved_after(takeover))
            main = demo.until_ready()
    for name, seconds in {"failover": silences, "label": moves}.items():
        median = statistics.median(seconds)
        reached = "reached" if median <= TARGET_SECONDS[name] else "MISSED"
        print(f"{name}: median {median:.2f} s ({reached}), most {max(seconds):.2f} s, of {len(seconds)}: ", end="")
        print(", ".join(f"{each:.2f}" for each in seconds))
