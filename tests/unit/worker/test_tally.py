"""What status and metrics tell of history, leases and watches."""

from prometheus_client import Metric

from hanas_core.log import records
from hanas_core.members.documents import LOG
from hanas_core.state.judge import Compaction, Write
from hanas_core.state.leases import Grant
from hanas_worker.ops import status
from hanas_worker.ops.metrics import NodeCollector
from hanas_worker.ops.status import HistoryState, LeaseState, WatchState, history_of, leases_of
from tests.unit.core.scenery import bare_folder, serve
from tests.unit.worker.nodes import backup_of


async def test_what_a_copy_holds_is_shown() -> None:
    main = serve(bare_folder(), 1, form=records.REVISED)
    main.write(Grant(7, 30))
    main.write(Write(b"a", b"12345"), Write(b"b", b"", lease=7))
    main.write(Write(b"a", b"123"), Write(b"b", b"", lease=7), Compaction(2))
    node = backup_of(main, main.folder.other())
    driver = node.logs[LOG]
    state = driver.state
    assert main.log.committed is not None
    state.know_committed(main.log.committed)
    await driver.look()
    await driver._follower.catch_up()
    state.tally.cuts, state.tally.expiries, state.tally.watches, state.tally.watches_lost = 4, 3, 2, 1
    history = history_of(state)
    assert history is not None
    assert history == HistoryState(5, 2, 3, history.bytes, 5, 4)
    assert history.bytes > 0
    assert leases_of(state) == LeaseState(1, 1, 3)
    shown = status._log(driver, left=False)
    assert (shown.history, shown.leases, shown.watches) == (history, leases_of(state), WatchState(2, 1))
    metrics: dict[str, Metric] = {metric.name: metric for metric in NodeCollector(node).collect()}
    values = {name: metric.samples[0].value for name, metric in metrics.items() if metric.samples}
    expected = {
        "hanas_store_revision": 5,
        "hanas_compacted_revision": 2,
        "hanas_history_changes": 3,
        "hanas_history_bytes": history.bytes,
        "hanas_history_value_bytes": 5,
        "hanas_history_cuts": 4,
        "hanas_leases": 1,
        "hanas_leased_keys": 1,
        "hanas_lease_expiries": 3,
        "hanas_watches": 2,
        "hanas_watches_lost": 1,
    }
    assert {name: values[name] for name in expected} == expected


async def test_of_a_copy_that_is_lent_nothing_is_told() -> None:
    main = serve(bare_folder(), 1)
    node = backup_of(main, main.folder.other())
    state = node.logs[LOG].state
    state._lent = state.replica.standing
    assert history_of(state) is None
    assert leases_of(state) is None
    names = {metric.name for metric in NodeCollector(node).collect()}
    assert "hanas_watches" in names
    assert "hanas_leases" not in names
