"""Merging segments: what is live of them goes into new ones, piece by piece (docs/protocol.md, section 3).

    MergeFiles.read, of Merger.source -> Merger.take -> MergeFiles.write -> Merger.written

The files belong to the thread that reads and writes; the merger, which decides what is live, to the owner of the index.
"""

from collections.abc import Iterator
from typing import NamedTuple, assert_never

import msgspec

from hanas_core.log import records
from hanas_core.log.batches import FIRST_OFFSET, HEADER_BYTES, Batch, Kind, encode, size_of
from hanas_core.log.cells import cell_size
from hanas_core.log.claimfile import Claim
from hanas_core.log.encrypted import encrypt
from hanas_core.log.manifests import Cut
from hanas_core.log.pieces import PIECE_BYTES, PieceReader
from hanas_core.log.positions import Version
from hanas_core.log.segments import cipher_of, new_header
from hanas_core.state.index import Index
from hanas_core.upkeep.compaction import Plan
from hanas_core.volume import blocks, names
from hanas_core.volume.errors import FolderUnavailable
from hanas_core.volume.folder import BLOCK_BYTES, File, Folder
from hanas_core.volume.publish import give_name

_Candidate = tuple[records.Merged, bytes]
"""A record as it would stand in a merged segment, and the cell of its value."""


class Piece(NamedTuple):
    """What was read of a segment, up to the offset ``end``."""

    candidates: list[_Candidate]
    end: int


class Chunk(NamedTuple):
    """What is to be written to the merged segment ``number``."""

    number: int
    records: list[records.Merged]
    cells: list[bytes]
    last: bool
    """Nothing comes behind it."""
    form: int


class Merger:
    """Decides what of the segments of a plan is kept."""

    def __init__(self, index: Index, plan: Plan, number: int, form: int = records.PLAIN) -> None:
        """Begin with the merged segment ``number``. ``form``: of the records, see `hanas_core.log.records`."""
        self._index = index
        self._todo = list(plan.cuts)
        self._read_to = FIRST_OFFSET
        self._keeps_deletes = plan.first > 0
        self._form, self._floor = form, index.compacted
        self._held: list[records.Merged] = [] if form == records.PLAIN else [records.Floor(self._floor)]
        self._cells: list[bytes] = []
        self._held_bytes = 0
        self._gone: set[bytes] = set()
        self._reached = records.Reached(0)
        self.number = number
        """Of the present merged segment. A number is used once: a merge that fails has used this one, too."""
        self.cuts: list[Cut] = []
        """The merged segments that are complete."""
        self.done = False

    @property
    def source(self) -> tuple[Cut, int]:
        """The segment to read next, and the offset to read from."""
        return self._todo[0], self._read_to

    def take(self, piece: Piece) -> Chunk | None:
        """Decide on a piece of `source`; return what to write before the next piece, if it is enough for that."""
        for record, cell in piece.candidates:
            self._decide(record, cell)
        self._read_to = piece.end
        if piece.end >= self._todo[0].end:
            self._todo.pop(0)
            self._read_to = FIRST_OFFSET
        last = not self._todo
        if last:
            self._held.append(self._end())
        elif self._held_bytes < PIECE_BYTES:
            return None
        chunk = Chunk(self.number, self._held, self._cells, last, self._form)
        self._held, self._cells, self._held_bytes = [], [], 0
        return chunk

    def written(self, cut: Cut | None) -> None:
        """The chunk was written, which has completed the segment ``cut``, if any."""
        if cut is not None:
            self.cuts.append(cut)
            self.number += 1
            self.done = not self._todo

    def _decide(self, record: records.Merged, cell: bytes) -> None:
        match record:
            case records.Kept(key=key):
                if self._index.keys.has(key, records.facts_of(record).revision):
                    self._keep(record, len(key) + len(cell))
                    self._cells.append(cell)
            case records.Gone(key=key):
                if records.revision_of(record) > self._floor:  # a version before it may have been kept
                    self._keep(record)
                # else it matters only to the segments that stay before the merged ones, and once
                elif self._keeps_deletes and key not in self._gone and self._index.version(key) is None:
                    self._gone.add(key)
                    self._keep(record)
            case records.Remembered(origin=origin, sequence=sequence, idempotency=idempotency):
                done = self._index.done(idempotency.key)
                if done is not None and done.version == (origin, sequence):
                    self._keep(record)
            case records.Session() | records.Answered():
                if self._needs_of_sessions(record):
                    self._keep(record)
            case records.Lease() | records.Left() | records.Ended():
                if self._needs_of_leases(record):
                    self._keep(record)
            case records.Reached():
                self._reached = max(self._reached, record, key=lambda reached: reached.sequence)
            case records.Floor():
                pass  # this merge has one of its own
            case _:
                assert_never(record)

    def _needs_of_sessions(self, record: records.Session | records.Answered) -> bool:
        """Return whether a session is still known, or what its write did."""
        if isinstance(record, records.Session):
            return self._index.sessions.get(Version(record.origin, record.sequence)) is not None
        session = self._index.sessions.get(record.forwarded.session)
        return session is not None and record.forwarded.number in session.changes

    def _needs_of_leases(self, record: records.Lease | records.Left | records.Ended) -> bool:
        """Return whether what a record says of a lease is still so, or matters to older segments that stay."""
        if isinstance(record, records.Ended):
            return self._keeps_deletes
        present = self._index.leases.get(record.lease)
        if isinstance(record, records.Lease):
            return present is not None and present.granted == (record.origin, record.sequence)
        return present is not None and present.noted == record.sequence

    def _end(self) -> records.Reached:
        """Return the last record: where the log and history have come to."""
        reached = self._reached
        if isinstance(reached, records.ReachedRevision):
            return msgspec.structs.replace(reached, compacted=self._index.compacted)
        return reached

    def _keep(self, record: records.Merged, size: int = HEADER_BYTES) -> None:
        self._held.append(record)
        self._held_bytes += size


class MergeFiles:
    """Reads the old segments and writes the merged ones, under temporary names until they are complete."""

    def __init__(self, folder: Folder, claim: Claim, segment_bytes: int) -> None:
        """Write segments of ``claim.epoch``, of ``segment_bytes`` about."""
        self._folder = folder
        self._claim = claim
        self._segment_bytes = segment_bytes
        self._pieces = PieceReader(folder)
        self._output: _Output | None = None

    async def read(self, cut: Cut, offset: int) -> Piece:
        """Read a piece of a segment. Raises Corruption, FolderError; then `discard` it all."""
        batches = await self._pieces.read(cut, offset)
        end = batches[-1].end if batches else offset
        return Piece([candidate for batch in batches for candidate in _candidates(batch)], end)

    async def write(self, chunk: Chunk) -> Cut | None:
        """Write, durably; return the segment if it is complete with that. Raises FolderError; then `discard` it all."""
        if self._output is None:
            self._output = await _Output.begin(self._folder, self._claim, chunk.number)
        output = self._output
        await output.write(chunk)
        if not chunk.last and output.end < self._segment_bytes:
            return None
        cut = await output.finish()
        self._output = None
        return cut

    async def discard(self, cuts: list[Cut]) -> None:
        """Remove the segment that is being written, and these, which are complete."""
        if self._output is not None:
            await self._folder.remove(self._output.temporary)
        for cut in cuts:
            await self._folder.remove(names.segment(cut.epoch, cut.number))


def _candidates(batch: Batch) -> Iterator[_Candidate]:
    payload = batch.payload
    if batch.kind is Kind.MERGED:
        merged, at = records.decode_merged(batch)
        for record in merged:
            end = at + cell_size(record.size) if isinstance(record, records.Kept) else at
            yield record, payload[at:end]
            at = end
    elif batch.kind is Kind.RECORDS:
        yield from _candidates_of_records(batch)


def _candidates_of_records(batch: Batch) -> Iterator[_Candidate]:
    changes, at = records.decode(batch)
    revision = records.revision_before(batch)
    for sequence, change in enumerate(changes, batch.first_sequence):
        origin = batch.origin
        plain = batch.format == records.PLAIN
        revision = sequence + 1 if plain else records.revision_behind(change, revision)
        if change.idempotency is not None:
            yield records.remembered(origin, sequence, change, change.idempotency, revision), b""
        if change.forwarded is not None:
            yield records.Answered(origin, sequence, change.forwarded, change.created, change.deleted), b""
        match change:
            case records.Opened(member=member):
                yield records.Session(origin, sequence, member), b""
            case records.Compacted():
                pass  # the last record tells of the last one
            case records.Granted(lease=lease, ttl=ttl):
                yield records.Lease(origin, sequence, lease, ttl), b""
            case records.Checkpointed(left=left):
                for lease, remaining in left:
                    yield records.Left(origin, sequence, lease, remaining), b""
            case records.Revoked(lease=lease, keys=keys):
                for key in keys:
                    yield records.gone(origin, sequence, key, revision), b""
                yield records.Ended(origin, sequence, lease), b""
            case _:
                for part in change.changes if isinstance(change, records.Transacted) else (change,):
                    end = at if isinstance(part, records.Delete) else at + cell_size(part.size)
                    yield _left(origin, sequence, part, revision), batch.payload[at:end]
                    at = end
    reached = batch.first_sequence + batch.count - 1
    if batch.format == records.PLAIN:
        yield records.Reached(reached), b""
    else:
        yield records.ReachedRevision(reached, revision=revision, compacted=0), b""


def _left(origin: int, sequence: int, change: records.Put | records.Delete, revision: int) -> records.Merged:
    """Return what stands in a merged segment for a change that ``revision`` made."""
    if isinstance(change, records.Put):
        return records.kept(origin, sequence, change, records.facts_of_put(change, revision))
    return records.gone(origin, sequence, change.key, revision)


class _Output:
    """A merged segment that is being written, under a temporary name."""

    def __init__(self, folder: Folder, claim: Claim, number: int, temporary: str, file: File) -> None:
        self.temporary = temporary
        self.end = FIRST_OFFSET
        self._folder = folder
        self._file = file
        self._header = new_header(folder, claim.folder_id, claim.epoch, number, 0)
        self._cipher = cipher_of(folder, self._header)

    @classmethod
    async def begin(cls, folder: Folder, claim: Claim, number: int) -> "_Output":
        temporary = names.temporary(claim.member, claim.incarnation, folder.nonce())
        await folder.create(temporary, b"")
        return cls(folder, claim, number, temporary, await folder.open(temporary, "append"))

    async def write(self, chunk: Chunk) -> None:
        epoch, payload = self._header.epoch, records.encode_merged(chunk.records, chunk.cells, chunk.form)
        place = epoch, chunk.number, self.end
        batch = Batch(epoch, 0, len(chunk.records), payload, Kind.MERGED, *place, format=chunk.form)
        if self._cipher is not None:
            batch = batch._replace(payload=encrypt(batch, self._cipher))
        await self._file.write(self.end, encode(batch, self._header.nonce))
        await self._file.sync()
        self.end += size_of(len(batch.payload))

    async def finish(self) -> Cut:
        """Give it its header, its full size and, when all that is durable, its name."""
        size = -(-self.end // BLOCK_BYTES) * BLOCK_BYTES
        header = msgspec.structs.replace(self._header, size=size)
        await self._file.write(self.end, bytes(size - self.end))
        block = blocks.encode(header)
        await self._file.write(0, block)
        await self._file.sync()
        await self._file.close()
        name = names.segment(header.epoch, header.number)
        if await give_name(self._folder, self.temporary, name) != block:
            raise FolderUnavailable(f"{name}: the name is taken by a segment that this main did not make")
        await self._folder.remove(self.temporary)
        return Cut(header.epoch, header.number, self.end)
