"""Overseers and operator killed, alone and together with the main: data and takeovers do not need them."""

import signal
import time

from tests.e2e.clients import clients
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import Made
from tests.e2e.hanas import HANas
from tests.e2e.hands import Hands
from tests.e2e.operators import Operator


def _delete_overseers(demo: HANas) -> None:
    demo.kubectl(
        *("delete", "pod", "--selector", f"hanas.dev/cluster={demo.name},app.kubernetes.io/component=overseer"),
        *("--force", "--grace-period=0", "--wait=false"),
    )


def test_overseers_killed(cluster: Cluster, hanas: Made) -> None:
    demo = hanas()
    main, epoch = demo.status["main"], demo.status["epoch"]
    with clients(cluster, demo) as running:
        _delete_overseers(demo)
        running.until_acknowledged()
        assert demo.until_ready() == main
    assert demo.status["epoch"] == epoch


def test_operator_killed_during_a_takeover(cluster: Cluster, operator: Operator, hanas: Made, signals: Hands) -> None:
    demo = hanas(preset="lan")
    main, epoch = demo.status["main"], demo.status["epoch"]
    with clients(cluster, demo) as running:
        signals.signal(demo.kubectl, demo.pod(main), signal.SIGKILL)
        operator.kill()
        demo.until_epoch_after(epoch)
        running.until_acknowledged()
        demo.until_ready()


def test_all_at_once(cluster: Cluster, operator: Operator, hanas: Made, signals: Hands) -> None:
    demo = hanas(preset="lan")
    main, epoch = demo.status["main"], demo.status["epoch"]
    with clients(cluster, demo) as running:
        begun = time.time()
        _delete_overseers(demo)
        operator.kill()
        signals.signal(demo.kubectl, demo.pod(main), signal.SIGKILL)
        running.until_acknowledged()
        acknowledged = running.acknowledged(after=begun)
        epochs = {int(str(operation.version).partition("-")[0]) for operation in acknowledged}
        demo.until_ready()
        assert max(epochs | {demo.status["epoch"]}) > epoch
