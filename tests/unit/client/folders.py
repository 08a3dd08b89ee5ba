"""Folders on a real file system that a main wrote to, and that nobody uses any more."""

from collections.abc import Iterable

import msgspec

from hanas_core.log.claims import claim_epoch
from hanas_core.members import cluster
from hanas_core.state.judge import Write
from hanas_core.state.queue import GroupCommit
from hanas_core.state.replica import Replica
from hanas_core.volume.blocking import run
from hanas_core.volume.posix import PosixFolder
from tests.unit.core.scenery import claim_of, take_over


def write_keys(folder: PosixFolder, *batches: Iterable[int]) -> None:
    """Initialise `folder`, and write `key/NN` for the numbers of each batch as the main of its first epoch."""
    identity = run(cluster.initialise(folder))
    claim = msgspec.structs.replace(claim_of(1), folder_id=identity.folder_id)
    run(claim_epoch(folder, claim))
    replica = Replica()
    promotion = run(take_over(folder, claim, replica))
    commits = GroupCommit[str](replica, 1, promotion.next_sequence)
    for numbers in batches:
        for number in numbers:
            commits.submit(Write(f"key/{number:02}".encode(), b"value"), "")
        batch = commits.next_batch(promotion.log.room)
        assert batch is not None
        commits.committed(run(promotion.log.commit(batch)), encrypted=promotion.log.encrypted)
