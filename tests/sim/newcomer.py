"""The state of a newcomer that reads the log from its beginning, without a copy and without a snapshot."""

from __future__ import annotations

from hanas_core.log.tailer import Tailer
from hanas_core.state.index import Index
from tests.sim.disk import Disk
from tests.sim.mount import Call, Mount
from tests.sim.world import World


class _NoChance(World):
    """A world in which nothing happens by itself."""

    def __init__(self) -> None:
        super().__init__(0)

    def chance(self, probability: float) -> bool:
        return False


def read_log(disk: Disk, epoch: int) -> Index:
    """Read all that an epoch began with, at once. Raises FolderError."""
    index = Index()

    async def read() -> None:
        tailer = Tailer(Mount(_NoChance(), disk, "newcomer", caches_names=False, unruly=0.0))
        await tailer.follow(epoch)
        tailer.know_relogged()
        while not tailer.at_end:
            for batch in await tailer.step():
                index.apply(batch)

    procedure, answer = read(), None
    while True:
        try:
            call = procedure.send(answer)
        except StopIteration:
            return index
        assert isinstance(call, Call)
        answer = call.act()
