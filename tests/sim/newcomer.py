"""Who only reads, all at once: a newcomer without a copy and without a snapshot, and a backup of the folder."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from hanas_core.log.tailer import Tailer
from hanas_core.state.index import Index
from hanas_core.volume.errors import FolderError
from tests.sim.disk import Disk
from tests.sim.mount import Call, Mount
from tests.sim.world import World

T = TypeVar("T")


class _NoChance(World):
    """A world in which nothing happens by itself."""

    def __init__(self) -> None:
        super().__init__(0)

    def chance(self, probability: float) -> bool:
        return False


def reader_of(disk: Disk) -> Mount:
    """Return a mount on which nothing goes wrong, for `at_once`."""
    return Mount(_NoChance(), disk, "newcomer", caches_names=False, unruly=0.0)


def at_once(procedure: Coroutine[Any, Any, T]) -> T:
    """Run a procedure on such a mount without letting time pass. Raises what it raises."""
    answer, error = None, None
    while True:
        try:
            call = procedure.send(answer) if error is None else procedure.throw(error)
        except StopIteration as end:
            result: T = end.value
            return result
        assert isinstance(call, Call)
        answer, error = None, None
        try:
            answer = call.act()
        except FolderError as failure:
            error = failure


def read_log(disk: Disk, epoch: int) -> Index:
    """Read all that an epoch began with, at once. Raises FolderError."""
    index = Index()

    async def read() -> None:
        tailer = Tailer(reader_of(disk))
        await tailer.follow(epoch)
        tailer.know_relogged()
        while not tailer.at_end:
            for batch in await tailer.step():
                index.apply(batch)

    at_once(read())
    return index
