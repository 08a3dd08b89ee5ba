"""A worker that is stopped in the middle of becoming the main, on a folder in memory."""

import asyncio
import time

import msgspec

from hanas_core.log.claimfile import Pointer, Seal
from hanas_core.log.claims import read_pointer
from hanas_core.log.seals import read_seal
from hanas_core.members import cluster
from hanas_core.members.detector import Conclude, Evidence
from hanas_core.members.documents import LOG
from hanas_core.members.registry import Registration
from hanas_core.members.verdicts import Verdict
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_serving.runtime import Runtime
from hanas_worker.host import settings
from hanas_worker.node import Node
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import FOLDER_ID, bare_folder, serve
from tests.unit.waiting import AMPLE_SECONDS
from tests.unit.worker.nodes import FolderDecides, Nobody, backup_of

GONE = Evidence(words="gone", keepalive_age=1.0, keepalives_heard=1, stalled_for=0.0)


def served_and_handed_over(folder: MemoryFolder, epoch: int) -> bool:
    seal = run(read_seal(folder, epoch))
    return isinstance(run(read_pointer(folder, epoch)), Pointer) and isinstance(seal, Seal) and seal.planned


async def test_a_worker_that_is_stopped_while_it_takes_over_serves_and_hands_over() -> None:
    """A claim whose epoch never serves is found out only by the silence of who made it."""
    folder = bare_folder()
    run(cluster.initialise(folder, FOLDER_ID))
    node = Node(settings.read({"WORKER_ID": "a"}), folder, FOLDER_ID, FolderDecides(), Nobody(), Runtime())
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()

    def stop() -> None:
        loop.call_soon_threadsafe(stopping.set)
        while not node.host.leaving:
            time.sleep(0.001)

    folder.at("write_block", names.claim(1), before=stop)
    async with asyncio.timeout(AMPLE_SECONDS):
        await node.run(stopping)
    assert not folder.planned
    assert served_and_handed_over(folder, 1)


async def test_a_worker_that_is_stopped_while_it_asks_for_a_takeover_carries_it_out() -> None:
    main = serve(bare_folder(), 1)
    folder = main.folder.other()
    node = backup_of(main, folder)
    await node.logs[LOG].tenure.prepare()
    node.logs[LOG].do([Conclude(1, Verdict.PRIMARY_FAILED, GONE)])
    async with asyncio.timeout(AMPLE_SECONDS):
        await node.leave()
    assert node.logs[LOG].state.member.epoch == 2
    assert served_and_handed_over(folder, 2)


async def test_a_worker_redirects_on_while_there_is_somebody_to_redirect_to_and_leaves_then() -> None:
    main = serve(bare_folder(), 1)
    node = backup_of(main, main.folder.other())
    node.places.yields = True  # there are no mailboxes here
    other = msgspec.structs.replace(node.presence.content(), member="a")
    for counter in (1, 2):
        block = msgspec.structs.replace(other, counter=counter)
        node.host.peers.update(node.host.awake, [Registration("a", 0, "", "")], [block])
    leaving = asyncio.create_task(node.leave(AMPLE_SECONDS))
    await asyncio.sleep(0.05)
    assert node.host.leaving
    assert not node.presence.left
    assert not leaving.done()
    leaving.cancel()
    node.host.peers.presence.clear()
    async with asyncio.timeout(AMPLE_SECONDS):
        await node.leave(10 * AMPLE_SECONDS)
    assert node.presence.left
