"""What belongs to the process: its lanes, of which a hung one is told whoever used it."""

import asyncio
import gc

import msgspec
import pytest

from hanas_core.members.documents import LEFT, LOG
from hanas_core.volume.errors import FolderUnavailable
from hanas_serving.budget import Budget
from hanas_worker.host.duties import Duty
from hanas_worker.ops import status
from hanas_worker.ops.memory import MemoryState
from tests.unit.core.scenery import Main, bare_folder, serve
from tests.unit.waiting import AMPLE_SECONDS, until
from tests.unit.worker.nodes import backup_of
from tests.unit.worker.stage import Gate

SHORT_SECONDS = 0.05


@pytest.fixture
def main() -> Main:
    return serve(bare_folder(), 1)


async def held_up(gate: Gate) -> None:
    gate()


async def test_every_lane_whose_call_hangs_is_told_until_it_returns_also_when_its_user_is_gone(main: Main) -> None:
    node = backup_of(main, main.folder.other())
    host = node.host
    gates = [Gate() for _ in range(4)]
    for run in (
        host.in_lane(Duty.SEAL, held_up(gates[0]), SHORT_SECONDS),
        host.new_lane(Duty.COMMIT).run(held_up(gates[1]), SHORT_SECONDS),
        host.new_lane(Duty.COMMIT).run(held_up(gates[2]), SHORT_SECONDS),
        node.overseers.lane.run(held_up(gates[3]), SHORT_SECONDS),
    ):
        with pytest.raises(FolderUnavailable):
            await run
    del run
    gc.collect()
    assert host.hung_duties == [Duty.ARBITRATION, Duty.COMMIT, Duty.SEAL]
    assert not node.folder_works
    assert status.document(node, MemoryState.of(Budget())).folder.hung_duties == ["arbitration", "commit", "seal"]
    for gate in gates:
        gate.open()
    await until(lambda: host.hung_duties == [])


async def test_how_long_no_call_on_the_folder_has_returned_is_known_without_the_pauses_of_the_process(
    main: Main,
) -> None:
    host = backup_of(main, main.folder.other()).host
    gate = Gate()

    async def nothing() -> None:
        pass

    await host.in_lane(Duty.MAIL, nothing())
    host.turn()
    assert host.hung_for <= host.timing.keepalive_interval
    with pytest.raises(FolderUnavailable):
        await host.in_lane(Duty.MAIL, held_up(gate), SHORT_SECONDS)
    host.turn()
    assert host.hung_for >= 0.9 * SHORT_SECONDS  # of one turn no more than an interval counts, which is as long
    host.own_time._turned_at = host.now - 1000.0
    host.turn()
    assert host.hung_for < 2 * host.timing.suspect_after
    gate.open()
    await until(lambda: host.hung_duties == [])
    host.turn()
    assert host.hung_for <= host.timing.keepalive_interval


async def test_a_duty_goes_on_as_soon_as_its_folder_answers_again(main: Main) -> None:
    host = backup_of(main, main.folder.other()).host
    gate, calls = Gate(), []

    async def look() -> None:
        calls.append(host.now)
        await host.in_lane(Duty.WATCH, held_up(gate), SHORT_SECONDS)

    duty = asyncio.create_task(host.repeat(Duty.WATCH, 10 * AMPLE_SECONDS, look, asyncio.Event()))
    await until(lambda: host.hung_duties == [Duty.WATCH])
    gate.open()
    await until(lambda: len(calls) == 2)
    duty.cancel()


async def test_the_status_tells_at_its_top_what_holds_of_the_first_log(main: Main) -> None:
    node = backup_of(main, main.folder.other())
    document = status.document(node, MemoryState.of(Budget()))
    [log] = document.logs
    facts = msgspec.structs.asdict(log)
    assert facts.pop("log") == LOG
    assert facts == {name: getattr(document, name) for name in facts}
    assert (log.role, log.epoch, log.main) == ("backup", 1, main.claim.member)
    node.presence.left = True
    assert status.document(node, MemoryState.of(Budget())).role == LEFT


async def test_an_unlink_that_hangs_delays_no_seal(main: Main) -> None:
    folder = main.folder.other()
    driver = backup_of(main, folder).logs[LOG]
    gate = Gate()
    folder.at("remove", "tmp", before=gate)
    removing = asyncio.create_task(driver.tenure.discard("tmp/unused"))
    await until(gate.reached.is_set)
    async with asyncio.timeout(AMPLE_SECONDS):
        assert await driver.tenure._seal(1, planned=True)
    gate.open()
    await removing
