"""Workers that all serve: clients know the Service of all workers, and nothing else."""

import json
import signal
import time

from tests.e2e.clients import clients, longest_silence
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import Made
from tests.e2e.hanas import HANas
from tests.e2e.hands import Hands


def all_serve(demo: HANas) -> bool:
    """Tell whether each worker lists keys by itself: one that redirects answers the API server with another address."""
    answers = (demo.worker(f"worker-{number}", "/v1/kv?prefix=e2e/&limit=1") for number in range(3))
    return all(json.loads(answer)["keys"] for answer in answers)


def test_backups_begin_to_serve_and_the_main_is_killed(cluster: Cluster, hanas: Made, signals: Hands) -> None:
    demo = hanas(preset="lan")
    with clients(cluster, demo, any_worker=True) as running:
        demo.apply(backups="serve")
        demo.until_ready()
        demo.until("each worker serves", lambda: all_serve(demo))
        main, epoch = demo.status["main"], demo.status["epoch"]
        begun = time.time()
        signals.signal(demo.kubectl, demo.pod(main), signal.SIGKILL)
        demo.until_epoch_after(epoch)
        running.until_acknowledged()
        silence = longest_silence([call for call in running.history() if (call.end or 0.0) > begun - 1.0])
        print(f"killed; {silence:.2f} s without an answer")
        demo.until_ready()
        demo.until("each worker serves again", lambda: all_serve(demo))
