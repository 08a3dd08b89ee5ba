"""Checks the log of a folder, batch by batch (hanas_core.upkeep.fsck)."""

from collections.abc import Iterable, Sequence

from hanas_core.log import records
from hanas_core.log.batches import FIRST_OFFSET, HEADER_BYTES, Batch, Fault, Kind, decode, find_later, salvage
from hanas_core.log.cells import cell_size, checksum_of, sums_size
from hanas_core.log.encrypted import decrypt
from hanas_core.log.manifests import Cut, Manifest
from hanas_core.log.positions import NOWHERE, Position, Version
from hanas_core.log.segments import SegmentHeader, cipher_of
from hanas_core.state.index import Index
from hanas_core.state.sessions import Change, Sessions
from hanas_core.upkeep.findings import FolderReport
from hanas_core.upkeep.revisioncheck import Contradiction, RevisionCheck
from hanas_core.volume import names
from hanas_core.volume.encryption import Cipher
from hanas_core.volume.errors import Corruption, FolderError, KeyMissing, Missing
from hanas_core.volume.folder import BLOCK_BYTES, File, Folder


class LogCheck:
    """Reads the log that a manifest names, and the epoch's own segments behind it."""

    def __init__(self, folder: Folder, report: FolderReport, snapshot: Index) -> None:
        """``snapshot``: the index of a good snapshot, to name what a damaged batch held; empty if there is none."""
        self._folder = folder
        self._report = report
        self._snapshot = snapshot
        self._latest: dict[bytes, int] = {}
        """Sequence of the last change of each key; negative if that deleted it."""
        self._sessions = Sessions()
        self._store = RevisionCheck()
        self._revision: int | None = 1
        """That of the store behind what was read; None: not known."""
        self._reached = 0
        """The last sequence of what was read."""
        self._next_sequence = 1
        self._bad: list[tuple[str, int, str, dict[bytes, int]]] = []
        """Damaged batches: name, offset, what, and the keys that they change with the sequences."""
        self.end = NOWHERE
        """Where the log ends."""
        self._unsure = False
        """What came last is a merged batch that cannot be read: only its records tell how far it reaches."""
        self.sound = False
        """All of the log was read, and no error is in it."""
        self.named: set[str] = set()
        """Every segment that is a part of the log."""
        self.closed: set[str] = set()
        """Those of them whose key is not at hand."""

    async def read(self, manifest: Manifest) -> None:
        """Read and check it all."""
        before = self._report.errors
        for cut in manifest.cuts:
            await self._segment(cut.epoch, cut.number, cut)
        number, following = 1, await self._segment(manifest.epoch, 1, None)
        while following is not None:
            number, following = following, await self._segment(manifest.epoch, following, None)
        await self._ahead(manifest.epoch, number + 1)
        for name, offset, what, touched in self._bad:
            present = [key for key, sequence in touched.items() if abs(self._latest.get(key, 0)) <= sequence]
            self._report.error(name, offset, what, sorted(present))
        if not self._bad and not self.closed:
            self._tell(names.segment(*self.end[:2]), None, self._store.ended(self._revision))
        self.sound = not (self._bad or self.closed) and self._report.errors == before
        self._report.keys = sum(sequence > 0 for sequence in self._latest.values())

    async def _ahead(self, epoch: int, number: int) -> None:
        """Check the segment behind the end of the log: readers look whether the log goes on there."""
        name = names.segment(epoch, number)
        try:
            file = await self._folder.open(name, "read")
            self._report.struct(await file.read(0, BLOCK_BYTES), name, 0, SegmentHeader)
        except Missing:
            return
        except FolderError as error:
            self._report.error(name, None, f"the name of the next segment is taken: {error}")

    async def _segment(self, epoch: int, number: int, cut: Cut | None) -> int | None:
        """Read one segment; return the number of the next one of the epoch, None at the end."""
        name = names.segment(epoch, number)
        self.named.add(name)
        try:
            file = await self._folder.open(name, "read")
            header = self._report.struct(await file.read(0, BLOCK_BYTES), name, 0, SegmentHeader)
            if header is None:
                self._report.error(name, 0, "without its header the segment cannot be read", self._keys_in(name, 0))
                return None
            content = await self._content(file, name, header, cut)
        except FolderError as error:
            self._report.error(name, None, f"missing, or cannot be read: {error}", self._keys_in(name, 0))
            return None
        if (header.epoch, header.number) != (epoch, number) or header.folder_id not in self._folder.ids:
            self._report.error(name, 0, f"is segment {header.epoch}/{header.number} of folder {header.folder_id}")
        self._report.segments += 1
        self._report.log_bytes += len(content)
        return self._batches(name, header, content, cut)

    async def _content(self, file: File, name: str, header: SegmentHeader, cut: Cut | None) -> bytes:
        """Return the whole segment; up to its cut, if that is all there is, since nobody reads behind it."""
        try:
            return await file.read(0, header.size)
        except FolderError as error:
            if cut is None or cut.end >= header.size:
                raise
            content = await file.read(0, cut.end)
            self._report.note(name, cut.end, f"the unused end of this segment is missing: {error}")
            return content

    def _cipher(self, name: str, header: SegmentHeader) -> Cipher | None:
        """Return what the segment is encrypted with, None where it is plain or its contents cannot be checked."""
        try:
            return cipher_of(self._folder, header)
        except KeyMissing as error:
            self.closed.add(name)
            self._report.note(name, 0, f"encrypted with the key {error.key_id}: its contents are not checked")
            return None

    def _batches(self, name: str, header: SegmentHeader, content: bytes, cut: Cut | None) -> int | None:
        cipher = self._cipher(name, header)
        end = len(content) if cut is None else cut.end
        origin = {"nonce": header.nonce, "epoch": header.epoch, "number": header.number}
        at, following = FIRST_OFFSET, None
        while at < end:
            batch = decode(content, at, at, **origin)
            if isinstance(batch, Batch):
                self._batch(name, batch, cipher)
                length = HEADER_BYTES + len(batch.payload)
                self._report.zeros(content[at + length : batch.end], name, at + length)
                at = batch.end
                if batch.kind is Kind.CONTINUES and cut is None:
                    following = header.number + 1
                continue
            later = find_later(content[at + 1 : end], at + 1, **origin)
            if cut is None and later is None:
                break
            self._damaged(name, content, at, later or end, batch)
            at = later or end
        self.end = Position(header.epoch, header.number, at)
        # Behind the log: re-logged batches, then zeros, or a batch that its main did not finish.
        while isinstance(batch := decode(content, at, at, **origin), Batch):
            at = batch.end
        rest = content[at:].lstrip(b"\0")
        if rest:
            what = "torn tail: a write that was never acknowledged, or bytes behind the log; readers ignore it"
            self._report.note(name, len(content) - len(rest), what, sorted(_salvaged(content, at)))
        return following

    def _batch(self, name: str, batch: Batch, cipher: Cipher | None) -> None:
        self._report.batches += 1
        if batch.kind is Kind.CONTINUES:
            return
        unsure, self._unsure = self._unsure, batch.kind is Kind.MERGED and name in self.closed
        if batch.kind is Kind.RECORDS and batch.first_sequence > self._next_sequence and not (self._bad or unsure):
            what = f"writes {self._next_sequence} to {batch.first_sequence - 1} are missing"
            self._report.error(name, batch.offset, what)
        if name in self.closed:
            self._revision = None
            self._store.gap()
            self._report.records += batch.count
            self._next_sequence = max(self._next_sequence, batch.first_sequence + batch.count)
            return
        try:
            if cipher is not None:
                batch = decrypt(batch, cipher)
            changes, at = _changes(batch)
            revision = self._begin(name, batch)
        except Corruption as error:
            self._report.error(name, batch.offset, str(error))
            self._revision = None
            self._store.gap()
            return
        self._report.records += len(changes)
        if batch.kind is Kind.MERGED:
            self._store.gap()
        for sequence, record in changes:
            version = Version(getattr(record, "origin", batch.origin), sequence)
            self._tell(name, batch.offset, self._store.record(record, version, revision))
            if isinstance(record, records.Record):
                revision = records.revision_behind(record, revision)
            for part in _parts(record):
                if isinstance(part, records.Put | records.Kept):
                    width = sums_size(part.size)
                    sums = batch.payload[at : at + width]
                    value = batch.payload[at + width : at + cell_size(part.size)]
                    at += cell_size(part.size)
                    if checksum_of(value, sums) != part.checksum:
                        self._report.error(name, batch.offset, "a value is not what its checksum says", [part.key])
                self._note(part, sequence)
                if batch.format != records.PLAIN:
                    self._tell(name, batch.offset, self._store.part(part, revision))
            if isinstance(record, records.Reached) and sequence > self._reached:  # else an epoch without records
                self._revision = record.revision if isinstance(record, records.ReachedRevision) else sequence + 1
                self._reached = sequence
            self._check_session(name, batch, record, version)
        if batch.kind is Kind.RECORDS and changes:
            self._reached = max(self._reached, sequence)
            self._revision = sequence + 1 if batch.format == records.PLAIN else revision

    def _begin(self, name: str, batch: Batch) -> int:
        """Check that revisions go on; return the one before the batch. Raises Corruption."""
        before = self._revision or 0
        if batch.kind is Kind.MERGED or not batch.payload:
            return before
        revision = records.revision_before(batch)
        if batch.format != records.PLAIN and self._revision not in {None, revision} and not self._bad:
            what = f"follows revision {revision}, and the batch before it ends with {before}"
            self._report.error(name, batch.offset, what)
        return revision

    def _tell(self, name: str, offset: int | None, contradictions: Iterable[Contradiction]) -> None:
        """Report them, unless records are missing: then they follow from that."""
        for what, keys in contradictions:
            if not self._bad:
                self._report.error(name, offset, what, keys)

    def _note(self, record: records.Record | records.Merged, sequence: int) -> None:
        match record:
            case records.Put(key=key) | records.Kept(key=key):
                self._latest[key] = sequence
            case records.Delete(key=key) | records.Gone(key=key):
                self._latest[key] = -sequence
            case _:
                pass
        self._next_sequence = max(self._next_sequence, sequence + 1)

    def _check_session(
        self, name: str, batch: Batch, record: records.Record | records.Merged, version: Version
    ) -> None:
        """Check that no forwarded write is in the log twice."""
        match record:
            case records.Opened(member=member) | records.Session(member=member):
                self._sessions.open(version, member)
            case records.ForwardedPut() | records.ForwardedDelete() | records.Answered():
                forwarded = record.forwarded
                session = self._sessions.get(forwarded.session)
                if session is not None and forwarded.number in session.changes:
                    what = f"write {forwarded.number} of the session {forwarded.session} was done before"
                    self._report.error(name, batch.offset, what)
                self._sessions.note(forwarded, Change(version, created=False, deleted=False))
            case _:
                pass

    def _damaged(self, name: str, content: bytes, at: int, end: int, fault: Fault) -> None:
        what = "nothing where a batch was" if fault is Fault.ZERO else "a damaged batch"
        touched = dict.fromkeys(self._keys_in(name, at, end), self._next_sequence)
        touched |= _salvaged(content, at)
        self._bad.append((name, at, f"{what}, {end - at} bytes", touched))

    def _keys_in(self, name: str, begin: int, end: int = 1 << 62) -> list[bytes]:
        """Return the keys whose values lie there, as the snapshot says."""
        keys, after = list[bytes](), b""
        while page := self._snapshot.page(b"", after, 10_000).entries:
            for after, entry in page:
                if names.segment(*entry.place[:2]) == name and begin <= entry.place_offset < end:
                    keys.append(after)
        return keys


def _changes(batch: Batch) -> tuple[list[tuple[int, records.Record | records.Merged]], int]:
    """Return the records of a batch with their sequences, and where the cells begin."""
    if batch.kind is Kind.RECORDS:
        plain, at = records.decode(batch)
        return list(enumerate(plain, batch.first_sequence)), at
    merged, at = records.decode_merged(batch)
    return [(0 if isinstance(one, records.Remembered | records.Floor) else one.sequence, one) for one in merged], at


def _parts(record: records.Record | records.Merged) -> Sequence[records.Record | records.Merged]:
    """Return a record as changes of one key each; one that changes no key as itself."""
    match record:
        case records.Transacted(changes=changes):
            return changes
        case records.Revoked(keys=keys) if keys:
            return [records.Delete(key) for key in keys]
        case _:
            return (record,)


def _salvaged(content: bytes, at: int) -> dict[bytes, int]:
    """Return what can still be read of the records of a damaged batch: keys and sequences."""
    batch = salvage(content, at)
    try:
        changes, _ = ([], 0) if batch is None else _changes(batch)
    except Corruption:
        return {}
    keyed = records.Put | records.Delete | records.Kept | records.Gone
    parts = [(sequence, part) for sequence, record in changes for part in _parts(record)]
    return {part.key: sequence for sequence, part in parts if isinstance(part, keyed)}
