"""From a won claim to serving, strictly in this order (docs/protocol.md, section 2).

    the claim is confirmed -> seals, each synced -> the predecessor is determined -> its log is read to its end ->
    what lies beyond its commit position is re-logged -> manifest -> block 1 -> seal check -> serve

A winner that dies before block 1 has changed nothing: the next epoch starts from the same predecessor.
"""

from collections.abc import Callable
from typing import NamedTuple

from hanas_core.log.batches import Batch
from hanas_core.log.claimfile import Claim
from hanas_core.log.claims import confirm, read_pointer, write_pointer
from hanas_core.log.epochlog import EpochLog
from hanas_core.log.manifests import Cut, Manifest, write_manifest
from hanas_core.log.positions import Position
from hanas_core.log.seals import SealWatch, seal_below
from hanas_core.state.reader import Course, LogReader, Step
from hanas_core.state.replica import Replica
from hanas_core.volume import names
from hanas_core.volume.blocks import Blank
from hanas_core.volume.errors import Corruption
from hanas_core.volume.folder import Folder


class Promotion(NamedTuple):
    """A finished takeover: the log to append to, its commit position, and the sequence of the first new write."""

    log: EpochLog
    applied: Position
    next_sequence: int
    manifest: Manifest
    watch: SealWatch
    """For the checks that reads wait for."""


async def promote(  # noqa: PLR0913  # each is a fact of its own
    folder: Folder,
    claim: Claim,
    replica: Replica,
    *,
    spare: str,
    segment_bytes: int,
    commit_position: Position | None,
    clock: Callable[[], float],
    progress: Callable[[str], None],
    claiming: float = 0.0,
) -> Promotion:
    """Make the holder of ``claim`` the main. ``replica`` belongs to this call until it returns.

    ``spare`` names prepared space of ``segment_bytes``; ``commit_position`` is that of the last keep-alive;
    ``clock`` gives monotonic seconds; ``progress`` takes how far it is; ``claiming`` is how many seconds the claim
    took, for people. Raises Sealed when a higher claim came meanwhile, FolderError when a step's effect is not known:
    either way this incarnation writes nothing more for the epoch but its seal.
    """
    started = clock()
    progress("sealing")
    await confirm(folder, claim)
    await seal_below(folder, claim)
    sealed = clock()
    progress("replaying")
    predecessor = await find_predecessor(folder, claim.epoch)

    def take(step: Step) -> None:
        replica.take(step)
        progress(f"replaying {step.applied}")

    reader = LogReader(folder, replica.cache_bytes)
    beyond, cuts = await _read(
        reader, predecessor, claim.epoch, replica.applied, commit_position, install=replica.install, take=take
    )
    if predecessor == 0:
        replica.forget()
    replayed = clock()
    progress("re-logging")
    log = await EpochLog.start(folder, claim.folder_id, claim.epoch, spare, segment_bytes)
    relogged = await log.relog(beyond)
    next_sequence = max([replica.index.sequence + 1, *(batch.first_sequence + batch.count for batch in beyond)])
    progress("writing the manifest")
    manifest = Manifest(
        epoch=claim.epoch,
        member=claim.member,
        incarnation=claim.incarnation,
        predecessor=predecessor,
        cuts=cuts,
        relogged_end=log.end,
        next_sequence=next_sequence,
        seconds={
            "claim": claiming,
            "seals": sealed - started,
            "replay": replayed - sealed,
            "relog": clock() - replayed,
        },
    )
    await write_pointer(folder, claim.epoch, await write_manifest(folder, claim, manifest))
    applied = await log.check()
    for batch in relogged:
        replica.apply(batch)
    return Promotion(log, applied, next_sequence, manifest, await SealWatch.on(folder, claim.epoch))


async def rehearse(folder: Folder, epoch: int, applied: Position, commit_position: Position | None) -> None:
    """Read the log as a takeover would that follows ``epoch``, from what a replica has applied; change nothing.

    Raises FolderError where the takeover would.
    """
    predecessor = await find_predecessor(folder, epoch + 1)
    reader = LogReader(folder, 0)
    await _read(reader, predecessor, epoch + 1, applied, commit_position, install=lambda _: None, take=lambda _: None)


async def _read(
    reader: LogReader,
    predecessor: int,
    epoch: int,
    applied: Position,
    commit_position: Position | None,
    *,
    install: Callable[[Course], None],
    take: Callable[[Step], None],
) -> tuple[list[Batch], tuple[Cut, ...]]:
    """Read the log of ``predecessor`` to its end, for the takeover of ``epoch``.

    Return what lies beyond its commit position, and every live segment up to there. Raises FolderError.
    """
    if commit_position is not None and predecessor < commit_position.epoch < epoch:
        name = names.claim(commit_position.epoch)
        raise Corruption(f"{name}: block 1 at offset 4096 is gone, but {commit_position} was committed")
    if predecessor == 0:
        return [], ()
    course = await reader.follow(predecessor, applied)
    if course is None:
        raise Corruption(f"{names.claim(predecessor)}: block 1 at offset 4096 was there a moment ago and is gone")
    install(course)
    tailer, at_end = reader.tailer, False
    tailer.know_relogged()
    while not at_end:
        step = await reader.step(commit_position)
        take(step)
        at_end = step.at_end
    beyond = [batch for batch in await tailer.finish() if batch.count]
    return beyond, await tailer.cuts()


async def find_predecessor(folder: Folder, epoch: int) -> int:
    """Return the highest epoch below ``epoch`` with a valid manifest pointer, 0 if there is none.

    To be asked only after every seal is written. Raises Corruption at a block 1 that is neither zero nor valid.
    """
    for lower in range(epoch - 1, 0, -1):
        pointer = await read_pointer(folder, lower)
        if pointer is Blank.ROTTEN:
            raise Corruption(f"{names.claim(lower)}: block 1 at offset 4096 is no manifest pointer; restore the file")
        if pointer is not Blank.ZERO:
            return lower
    return 0
