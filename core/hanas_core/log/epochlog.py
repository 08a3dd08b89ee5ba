"""The log of one's own epoch and the commit rule, the heart of the protocol (docs/protocol.md, section 2).

    append -> sync returned -> a seal check that began after that says unsealed -> committed

One batch at a time, no check is kept or overlapped, and whatever goes wrong on the way ends the epoch: an abandoned
write may land at any later time, so this incarnation appends nothing more.
"""

from hanas_core.log.batches import FIRST_OFFSET, HEADER_BYTES, Batch, Kind, encode, size_of
from hanas_core.log.encrypted import encrypt, space_of
from hanas_core.log.manifests import Cut
from hanas_core.log.positions import NOWHERE, Position
from hanas_core.log.seals import SealWatch
from hanas_core.log.segments import (
    MARKER_BYTES,
    SegmentHeader,
    begin,
    begin_named,
    capacity,
    cipher_of,
    new_header,
    take_name,
)
from hanas_core.volume import names
from hanas_core.volume.errors import NoSpace, Sealed
from hanas_core.volume.folder import File, Folder
from hanas_core.volume.held import Held, Proof


class EpochLog:
    """Appends to the segments of one epoch; the only writer they ever have.

    The thread that runs a step owns it until the step returns; the event loop reads it between two steps. Beside a step
    only `name_ahead` may run, which changes nothing here, an empty `spare` may be set, and `held` and `proof`, which
    are replaced as a whole, may be read.
    """

    def __init__(self, folder: Folder, file: File, header: SegmentHeader, watch: SealWatch) -> None:
        """Use the open first segment of the epoch; nothing is committed yet."""
        self._folder = folder
        self._file = file
        self._header = header
        self._watch = watch
        self._cipher = cipher_of(folder, header)
        self.held = _held(file, header)
        """The present segment."""
        self.proof: Proof | None = None
        """How the last batch begins whose commit has succeeded."""
        self._mark: Proof | None = None
        """How the last batch begins that was written."""
        self.end = self._synced = FIRST_OFFSET
        """Where the next batch of the present segment would stand, and the end of what is durable."""
        self._ended = False
        self._empty: tuple[int, bytes] | None = None
        """Offset and bytes of the last batch, if it carries no record."""
        self.spare: str | None = None
        """Prepared space for the next segment, once `name_ahead` has succeeded with it."""
        self._next = header.number + 1
        """Number of the segment that the next roll begins."""
        self.committed: Position | None = None
        self.sealed: tuple[Cut, ...] = ()
        """The segments of this epoch that go on in a next one."""

    @classmethod
    async def start(cls, folder: Folder, folder_id: str, epoch: int, spare: str, size: int) -> "EpochLog":
        """Begin the first segment of ``epoch`` in prepared space of ``size`` bytes."""
        header = new_header(folder, folder_id, epoch, 1, size)
        file = await begin(folder, spare, header)
        return cls(folder, file, header, await SealWatch.on(folder, epoch))

    @property
    def room(self) -> int:
        """Bytes that the next batch may take: what is left of this segment, or a whole new one if one is prepared."""
        return max(self.left, capacity(self._header.size)) if self.spare else self.left

    @property
    def left(self) -> int:
        """Bytes left in the present segment."""
        return self._header.size - self.end - MARKER_BYTES

    @property
    def encrypted(self) -> bool:
        """The present segment is, so its batches take more space."""
        return self._cipher is not None

    @property
    def files(self) -> tuple[Held, ...]:
        """What is held open: the present segment, and the claim with the seal."""
        return self.held, self._watch.held

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """Every segment of this epoch with its end, when all that was appended is committed."""
        present = Cut(self._header.epoch, self._header.number, self.end)
        return (*self.sealed, present) if self.end > FIRST_OFFSET or not self.sealed else self.sealed

    async def name_ahead(self, spare: str) -> None:
        """Take the name of the next segment for prepared space, so that a roll needs no more room on the volume.

        To be called while there is no `spare`, beside commits; after an error once more. Nothing rests on that name
        until the marker that leads to it. Raises FolderError, which does not end the epoch.
        """
        await take_name(self._folder, spare, self._header.epoch, self._next)

    async def relog(self, batches: list[Batch]) -> list[Batch]:
        """Copy and sync the predecessor's last batches, with their versions; return them as they stand here.

        Nothing is committed by that. Raises NoSpace, FolderError, Sealed.
        """
        self._begin_step()
        needed = sum(self._space_of(batch) for batch in batches)
        if needed > self.left:
            raise NoSpace(f"{needed} bytes must be re-logged: segments of {self._header.size} bytes are too small")
        placed = [await self._write(batch) for batch in batches]
        await self._file.sync()
        self._synced = self.end
        self._ended = False
        return placed

    async def commit(self, batch: Batch) -> Position:
        """Append a batch that fits into `room` and return the new commit position.

        Raises Sealed when the epoch has ended, FolderError when that is not known: either way the outcome of the
        batch is unknown and this log takes no other.
        """
        self._begin_step()
        if batch.count == 0 and self._empty is not None:
            await self._file.write(*self._empty)  # the same bytes once more: the same proof, and the log does not grow
            position = await self._sync_and_check()
        else:
            if self._space_of(batch) > self.left:
                await self._roll()
            position = await self._append(batch)
        self._ended = False
        return position

    async def check(self) -> Position:
        """Return the commit position after the first check of this epoch: what was re-logged is now committed."""
        self._begin_step()
        await self._watch.check()
        self.committed = Position(self._header.epoch, self._header.number, self.end)
        self.proof = self._mark
        self._ended = False
        return self.committed

    def check_invariants(self) -> None:
        """Assert what must hold between two steps: committed is synced, synced is written, all inside the segment."""
        assert FIRST_OFFSET <= self._synced <= self.end <= self._header.size - MARKER_BYTES
        assert [cut.number for cut in self.sealed] == sorted({cut.number for cut in self.sealed})
        assert all(cut.epoch == self._header.epoch and cut.number < self._header.number for cut in self.sealed)
        assert self._header.number < self._next
        assert (self.committed or NOWHERE) <= Position(self._header.epoch, self._header.number, self._synced)

    def _begin_step(self) -> None:
        """Count the epoch as ended until the step has succeeded. Raises Sealed if it has ended."""
        if self._ended:
            raise Sealed
        self._ended = True

    async def _roll(self) -> None:
        """Begin the next segment, durably; point to it from this one, committed; only then write to it."""
        number = self._next
        self._next += 1  # before `spare` is empty: from then on `name_ahead` may be called
        spare, self.spare = self.spare, None
        assert spare is not None, "a batch fits into `room`"
        old = self._header
        header = new_header(self._folder, old.folder_id, old.epoch, number, old.size, self.end + MARKER_BYTES)
        cipher = cipher_of(self._folder, header)
        file = await begin_named(self._folder, spare, header)
        await self._append(Batch(old.epoch, 0, 0, b"", Kind.CONTINUES))
        await self._file.close()
        self.sealed += (Cut(old.epoch, old.number, self.end),)
        self._file, self._header, self._cipher, self.held = file, header, cipher, _held(file, header)
        self.end = self._synced = FIRST_OFFSET

    def _space_of(self, batch: Batch) -> int:
        """Return what a batch takes in the present segment, bytes."""
        return size_of(len(batch.payload) if self._cipher is None else space_of(batch))

    async def _append(self, batch: Batch) -> Position:
        await self._write(batch)
        return await self._sync_and_check()

    async def _sync_and_check(self) -> Position:
        await self._file.sync()
        self._synced = self.end
        await self._watch.check()
        self.committed = Position(self._header.epoch, self._header.number, self.end)
        self.proof = self._mark
        return self.committed

    async def _write(self, batch: Batch) -> Batch:
        epoch, number, cipher = self._header.epoch, self._header.number, self._cipher
        placed = batch._replace(
            epoch=epoch, number=number, offset=self.end, committed=self.committed, encrypted=cipher is not None
        )
        stored = placed if cipher is None else placed._replace(payload=encrypt(placed, cipher))
        content = encode(stored, self._header.nonce)
        reserve = 0 if placed.kind is Kind.CONTINUES else MARKER_BYTES
        assert self.end + len(content) + reserve <= self._header.size, "a batch ends inside its segment"
        await self._file.write(self.end, content)
        self._mark = Proof(self.held.name, self.end, content[:HEADER_BYTES])
        self._empty = (self.end, content) if placed.count == 0 and placed.kind is Kind.RECORDS else None
        self.end += len(content)
        return placed


def _held(file: File, header: SegmentHeader) -> Held:
    return Held(names.segment(header.epoch, header.number), file.identity)
