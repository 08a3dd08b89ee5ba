"""What the stories begin with: a folder, claims, and mains that serve."""

import secrets
import struct
from dataclasses import dataclass

import pytest
import xxhash

from hanas_core.epochs.takeover import Promotion, promote
from hanas_core.log import records
from hanas_core.log.batches import FIRST_OFFSET, Batch
from hanas_core.log.cells import checksum_of, read_part, sums_of
from hanas_core.log.claimfile import Claim
from hanas_core.log.claims import claim_epoch
from hanas_core.log.epochlog import EpochLog
from hanas_core.log.pieces import PieceReader
from hanas_core.log.positions import Position
from hanas_core.log.records import Idempotency
from hanas_core.log.segments import open_values, prepare
from hanas_core.log.tailer import Tailer
from hanas_core.members.documents import LogPresence, Presence
from hanas_core.members.mailboxes import allocate
from hanas_core.members.roles import Role
from hanas_core.state.index import Index
from hanas_core.state.judge import Outcome, Request, Write
from hanas_core.state.queue import GroupCommit
from hanas_core.state.reader import LogReader
from hanas_core.state.replica import Replica
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.errors import FolderUnavailable
from hanas_core.volume.folder import Folder
from tests.unit.core.memory_folder import Disk, MemoryFolder

FOLDER_ID = "f" * 32
SEGMENT_BYTES = 16_384


def incarnation(member: str) -> str:
    return f"{ord(member[0]):032x}"


def bare_folder(*, suspends: bool = False) -> MemoryFolder:
    """Return a folder with its directories, durable, and nothing else."""
    disk = Disk()
    folder = MemoryFolder(disk)
    for directory in names.DIRECTORIES:
        run(folder.make_directory(directory))
    run(folder.sync_directory(""))
    return MemoryFolder(disk, suspends=suspends)


def pool(*, suspends: bool = False) -> MemoryFolder:
    """Return a folder with its mailboxes, where members can arrive."""
    folder = bare_folder()
    run(allocate(folder))
    return MemoryFolder(folder.disk, suspends=suspends)


def claim_of(epoch: int, member: str = "a", follows: int | None = None) -> Claim:
    return Claim(
        epoch=epoch,
        member=member,
        incarnation=incarnation(member),
        nonce=secrets.token_hex(16),
        advertise_url=f"http://{member}:3001",
        link_url=f"http://{member}:4001",
        folder_id=FOLDER_ID,
        follows=epoch - 1 if follows is None else follows,
    )


def win(folder: Folder, epoch: int, member: str = "a") -> Claim:
    """Claim an epoch that nobody has claimed."""
    claim = claim_of(epoch, member)
    assert run(claim_epoch(folder, claim)) == claim
    return claim


async def take_over(
    folder: Folder,
    claim: Claim,
    replica: Replica,
    *,
    known: Position | None = None,
    segment_bytes: int = SEGMENT_BYTES,
) -> Promotion:
    spare = await prepare(folder, claim.member, claim.incarnation, segment_bytes)
    return await promote(
        folder,
        claim,
        replica,
        spare=spare,
        segment_bytes=segment_bytes,
        commit_position=known,
        clock=lambda: 0.0,
        progress=lambda _: None,
    )


class Backup(Replica):
    """A replica and the readers that feed it, all on one thread."""

    def __init__(self, folder: Folder) -> None:
        super().__init__()
        self._folder = folder
        self._pieces = PieceReader(folder)
        self.reader = LogReader(folder, self.cache_bytes)
        self.troubles: list[str] = []

    @property
    def tailer(self) -> Tailer:
        return self.reader.tailer

    async def follow(self, epoch: int) -> bool:
        course = await self.reader.follow(epoch, self.applied)
        if course is None:
            return False
        self.install(course)
        self.troubles += course.troubles
        return True

    async def catch_up(self) -> None:
        """Apply everything that is known to be committed, up to the end of what can be read now."""
        at_end = False
        while not at_end:
            step = await self.reader.step()
            self.take(step)
            at_end = step.at_end

    async def learn(self) -> list[Batch]:
        """Learn the places in a piece of the first merged segment that is unread."""
        cut = self.unread[0]
        batches = await self._pieces.read(cut, self.read_to)
        self.relocate(cut, batches)
        return batches


@dataclass
class Main:
    """A main that serves."""

    folder: MemoryFolder
    claim: Claim
    replica: Backup
    log: EpochLog
    commits: GroupCommit[str]

    def spare(self) -> None:
        """Prepare space for the next segment, unless there is some."""
        if self.log.spare is not None:
            return
        spare = run(prepare(self.folder, self.claim.member, self.claim.incarnation, SEGMENT_BYTES))
        run(self.log.name_ahead(spare))
        self.log.spare = spare

    def write(self, *writes: Request) -> list[Outcome]:
        """Commit these writes as one batch."""
        for write in writes:
            self.commits.submit(write, "")
        batch = self.commits.next_batch(self.log.room)
        assert batch is not None
        position = run(self.log.commit(batch))
        outcomes = [outcome for _, outcome in self.commits.committed(position, encrypted=self.log.encrypted)]
        self.log.check_invariants()
        self.replica.check_invariants()
        return outcomes

    def put(self, key: str, value: str) -> Outcome:
        (outcome,) = self.write(Write(key.encode(), value.encode()))
        return outcome

    def append(self, key: str, value: str) -> None:
        """Append and sync a write whose check is never answered: it is in the log, and its outcome is unknown."""
        self.folder.at("read", names.claim(self.claim.epoch), before=FolderUnavailable("no answer"))
        with pytest.raises(FolderUnavailable):
            self.put(key, value)


def serve(
    folder: MemoryFolder,
    epoch: int,
    member: str = "a",
    *,
    replica: Backup | None = None,
    known: Position | None = None,
    segment_bytes: int = SEGMENT_BYTES,
    form: int = records.PLAIN,
) -> Main:
    """Claim an epoch and become its main."""
    claim = win(folder, epoch, member)
    return promoted(folder, claim, replica=replica, known=known, segment_bytes=segment_bytes, form=form)


def promoted(
    folder: MemoryFolder,
    claim: Claim,
    *,
    replica: Backup | None = None,
    known: Position | None = None,
    segment_bytes: int = SEGMENT_BYTES,
    form: int = records.PLAIN,
) -> Main:
    replica = replica or Backup(folder)
    promotion = run(take_over(folder, claim, replica, known=known, segment_bytes=segment_bytes))
    commits = GroupCommit[str](replica, claim.epoch, promotion.next_sequence, form=form)
    return Main(folder, claim, replica, promotion.log, commits)


def put_payload(
    key: str, value: bytes, content_type: str = "", idempotency: Idempotency | None = None, *, created: bool = False
) -> bytes:
    """Return the payload of a batch with one put."""
    sums = sums_of(value)
    put = records.Put(key.encode(), len(value), checksum_of(value, sums), content_type, idempotency, created)
    return records.encode([put], [sums, value])


def contents(index: Index) -> dict[str, str]:
    """Return every key with its value, as it is at hand in memory."""
    return {key.decode(): (index.cached(key) or b"").decode() for key, _ in index.page(b"", b"", 1_000_000).entries}


def stored(folder: Folder, index: Index) -> dict[str, str]:
    """Return every key with its value, as it is in the place that the index knows."""
    found = {}
    for key, entry in index.page(b"", b"", 1_000_000).entries:
        name, whole = names.segment(*entry.place[:2]), (0, entry.size)
        file, cipher = run(open_values(folder, *entry.place[:2]))
        value = run(read_part(file, name, entry.place.offset, entry.size, entry.checksum, whole, cipher))
        found[key.decode()] = value.decode()
    return found


def fresh_backup(folder: Folder, epoch: int, known: Position | None = None) -> Backup:
    """Return a replica that has read everything that is known to be committed in ``epoch``."""
    replica = Backup(folder)
    assert run(replica.follow(epoch))
    if known is not None:
        replica.tailer.know(known)
    run(replica.catch_up())
    replica.check_invariants()
    return replica


def shown(member: str) -> Presence:
    """Return the presence block of a backup."""
    return Presence(
        member=member,
        incarnation=incarnation(member),
        counter=1,
        advertise_url="http://a:3001",
        link_url="http://a:4001",
        logs=(LogPresence(role=Role.BACKUP, epoch=1),),
    )


def forge(segment: bytearray) -> None:
    """Change the last byte of the first batch, and its checksum accordingly."""
    length = struct.unpack_from("<I", segment, FIRST_OFFSET + 16)[0]
    segment[FIRST_OFFSET + length - 1] ^= 1
    nonce = struct.unpack_from("<Q", segment, FIRST_OFFSET)[0]
    body = bytes(segment[FIRST_OFFSET + 16 : FIRST_OFFSET + length])
    struct.pack_into("<Q", segment, FIRST_OFFSET + 8, xxhash.xxh3_64_intdigest(body, seed=nonce))
