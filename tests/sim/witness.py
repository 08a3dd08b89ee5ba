"""Checks at every step, from outside: no member knows all of this.

The hooks of `tests.sim.hearing` call the witness for every commit, for every epoch that begins to serve, and for every
block that becomes durable. It has its own list of all committed writes, and accuses the run at the first contradiction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from hanas_core.log import records
from hanas_core.log.batches import Batch, Kind, size_of
from hanas_core.log.claimfile import POINTER_OFFSET, SEAL_OFFSET, Claim, Pointer, Seal, decode_pointer
from hanas_core.log.encrypted import space_of
from hanas_core.log.epochlog import EpochLog
from hanas_core.log.manifests import Manifest
from hanas_core.log.positions import Position, Version
from hanas_core.log.seals import SealWatch
from hanas_core.members import registry
from hanas_core.members.detector import Evidence
from hanas_core.members.documents import Presence
from hanas_core.members.mailboxes import Answers, Box, LogAnswers, Probe
from hanas_core.members.member import Member
from hanas_core.members.registry import Registration
from hanas_core.members.roles import Role
from hanas_core.members.verdicts import Verdict
from hanas_core.state.index import Index
from hanas_core.state.sessions import Change
from hanas_core.volume import names
from hanas_core.volume.blocks import unpack
from hanas_core.volume.folder import BLOCK_BYTES
from hanas_worker.log.service import Service
from tests.sim.disk import ZERO, Disk, Inode
from tests.sim.lessees import Promises
from tests.sim.mount import OpenFile
from tests.sim.network import Network
from tests.sim.newcomer import read_log
from tests.sim.past import Past
from tests.sim.processes import TIMING, Worker
from tests.sim.seams import running_loop
from tests.sim.world import World

_UNAWARE_SECONDS = 2.0
"""A member may go on in its slot for so long before it learns that it was given to another."""
_LATELY_SECONDS = 3.0
"""A pause of a main explains that it is replaced for so long."""
HEARD_WITHIN = 2 * TIMING.suspect_after / 0.9 + 0.05
"""How long a keep-alive may be under way, by the slowest clock and with what the receiver has to do, seconds."""


class Committed(NamedTuple):
    """A write that can never be lost again."""

    version: Version
    record: records.Record


def parts(record: records.Record) -> Sequence[records.Record]:
    """Return a record as changes of one key each, as far as it changes any."""
    match record:
        case records.Transacted(changes=changes):
            return changes
        case records.Revoked(keys=keys):
            return [records.Delete(key) for key in keys]
        case _:
            return (record,)


class Witness:
    """Observes everything, and accuses the run when a rule is broken."""

    def __init__(self, world: World, network: Network, disk: Disk, workers: dict[str, Worker]) -> None:
        self.world = world
        self.silent_since = network.silent_since
        self.disk = disk
        self.workers = workers
        self.committed: list[Committed] = []
        """All committed writes; the one with sequence n is at index n - 1."""
        self.served_from: dict[int, float] = {}
        """Time at which each epoch began to serve."""
        self.looks_ahead = True
        """Whether to accuse also what may do harm later: a member that relies on a name that may be forgotten."""
        self.only_pauses = False
        """Whether nothing happens to the processes, the network and the folder but pauses of processes."""
        self.commits = 0
        self._relogged: dict[tuple[int, int], Committed] = {}
        """Writes that an epoch re-logged, by their version: perhaps committed."""
        self._last: dict[int, Position] = {}
        self._model: dict[bytes, Committed] = {}
        self.past = Past(world.accuse)
        self.promises = Promises(world.accuse)
        self._numbers: set[tuple[Version, int]] = set()
        """Session and number of each forwarded write that was committed."""
        self._once: set[str] = set()
        """The idempotency key of each write that was committed: a run has fewer than the window."""
        self.promoting: set[str] = set()
        """The members with a takeover in progress."""
        self.moment = 0
        """Increases with each seal check and each read."""
        self.checked: dict[SealWatch, int] = {}
        """Moment at which the last seal check with the result "unsealed" began."""
        self.commits_of: Counter[int] = Counter()
        """Number of commits of each epoch, with the no-ops of probes twice."""
        self._probes: dict[str, tuple[int, int]] = {}
        """For each nonce of a probe: its epoch, and the number of commits of that epoch when it was written."""
        self._owners: dict[int, tuple[str, float]] = {}
        """The owner of each slot, and since when."""
        self._shown_at: dict[int, float] = {}
        """When the owner of each slot last showed itself in it."""
        self.network = network
        network.answered = self._shows
        disk.removed = self._removed
        disk.block_seen, disk.block_written, disk.linked = self._block_seen, self._block_written, self._linked

    # ------------------------------------------------------------------ what is heard

    def batch_committed(self, log: EpochLog, batch: Batch, position: Position) -> None:
        file = log._file
        assert isinstance(file, OpenFile)
        if file.disk is not self.disk:
            return
        epoch, start = (
            position.epoch,
            position.offset - size_of(space_of(batch) if log.encrypted else len(batch.payload)),
        )
        self.commits += 1
        self.commits_of[epoch] += 1
        before = self._last.get(epoch)
        if before is not None and position <= before:
            self.world.accuse(f"the commit position of epoch {epoch} went from {before} to {position}")
        self._last[epoch] = position
        length = position.offset - start
        durable = file.inode.durable_read(start, length)
        if not any(durable[:8]) or durable != file.inode.read(start, length) or file.lags(start, length):
            self.world.accuse(f"{position} was committed before it was durable")
        later = min((other for other in self.served_from if other > epoch), default=None)
        if later is not None and file.synced_at > self.served_from[later]:
            self.world.accuse(f"epoch {epoch} committed a batch that was synced after epoch {later} had begun to serve")
        if batch.kind is Kind.RECORDS and batch.count:
            self.past.learn(batch)
            for sequence, record in enumerate(records.decode(batch)[0], batch.first_sequence):
                self._add(Committed(Version(batch.origin, sequence), record), f"epoch {epoch} committed")

    def _add(self, write: Committed, what: str) -> None:
        sequence = write.version.sequence
        if sequence <= len(self.committed) and self.committed[sequence - 1] == write:
            return  # re-logged by the next epoch while its main had not yet seen that its check went well
        if sequence != len(self.committed) + 1:
            self.world.accuse(f"{what} write {write.version}, but {len(self.committed)} were committed before")
            return
        self.committed.append(write)
        self.past.add(write.version, write.record)
        once, forwarded = write.record.idempotency, write.record.forwarded
        if once is not None:
            if once.key in self._once:
                self.world.accuse(f"{what} a second write with the idempotency key {once.key}")
            self._once.add(once.key)
        if forwarded is not None:
            if (forwarded.session, forwarded.number) in self._numbers:
                self.world.accuse(f"{what} write {forwarded.number} of session {forwarded.session} twice")
            self._numbers.add((forwarded.session, forwarded.number))
        match write.record:
            case records.Granted(lease=lease):
                self.promises.begun(lease, self.world.now)
            case records.Revoked(lease=lease):
                self.promises.ended(lease, self.world.now)
            case _:
                pass
        for part in parts(write.record):
            match part:
                case records.Put(key=key):
                    self._model[key] = Committed(write.version, part)
                case records.Delete(key=key):
                    self._model.pop(key, None)
                case _:
                    pass

    def relogs(self, epoch: int, batches: list[Batch]) -> None:
        for batch in batches:
            self.past.learn(batch)
            for sequence, record in enumerate(records.decode(batch)[0], batch.first_sequence):
                version = Version(batch.origin, sequence)
                self._relogged[version] = Committed(version, record)

    def promoted(self, epoch: int, index: Index) -> None:
        """Check at the start of an epoch that it holds exactly what was committed, and what was re-logged on the way.

        This holds for the idempotency keys, too: a run has fewer of them than the window.
        """
        if max(self.served_from, default=0) > epoch:
            return  # its check went well, then it was paused until a later epoch served: it will find its seal
        if index.sequence < len(self.committed):
            missing = self.committed[index.sequence]
            self.world.accuse(f"epoch {epoch} begins without the committed write {missing.version}")
            return
        while len(self.committed) < index.sequence:
            sequence = len(self.committed) + 1
            found = [write for version, write in self._relogged.items() if version[1] == sequence]
            if not found:
                self.world.accuse(f"epoch {epoch} begins with write {sequence}, which nobody committed or re-logged")
                return
            # Of several, the one that stands: what a later epoch re-logged came from a later log.
            self._add(max(found, key=lambda write: write.version), f"epoch {epoch} begins with")
        self._holds(index, f"epoch {epoch} begins")

    def rolled(self, epoch: int) -> None:
        """Check after a merge of old segments that a read of the log from its beginning gives the same state."""
        if self.world.rotten or max(self.served_from, default=0) > epoch:
            return
        self._holds(read_log(self.disk, epoch), f"the log of epoch {epoch} begins")

    def _holds(self, index: Index, what: str) -> None:
        """Compare a copy of the state with the committed writes."""
        entries = dict(index.page(b"", b"", 1 << 30).entries)
        for write in self.committed:
            once = write.record.idempotency
            done = None if once is None else index.done(once.key)
            if once is not None and (done is None or done.version != write.version):
                self.world.accuse(f"{what} without the idempotency key of write {write.version}")
                return
        sessions = {
            version: (session.member, session.lowest, {number: _told(each) for number, each in session.changes.items()})
            for version, session in index.sessions.all()
        }
        if sessions != (expected := self._sessions()):
            self.world.accuse(f"{what} with the sessions {sessions}, but {expected} is what was committed")
        self.past.compare(index, what)
        held = {key: (entry.version, entry.checksum) for key, entry in entries.items()}
        wanted = {
            key: (write.version, write.record.checksum)
            for key, write in self._model.items()
            if isinstance(write.record, records.Put)
        }
        if held != wanted:
            key = min(key for key in held.keys() | wanted.keys() if held.get(key) != wanted.get(key))
            self.world.accuse(f"{what} with {key!r} = {held.get(key)}, but {wanted.get(key)} is what was committed")

    def _sessions(self) -> dict[Version, tuple[str, int, dict[int, Change]]]:
        """Return the sessions that all committed writes leave: a run has fewer members than there may be sessions."""
        latest = {write.record.member: write for write in self.committed if isinstance(write.record, records.Opened)}
        sessions = {}
        for write in sorted(latest.values(), key=lambda write: write.version):
            assert isinstance(write.record, records.Opened)
            changes = [
                (forwarded, Change(version, record.created, record.deleted))
                for version, record in self.committed
                if (forwarded := record.forwarded) is not None and forwarded.session == write.version
            ]
            lowest = max((forwarded.lowest for forwarded, _ in changes), default=1)
            kept = {forwarded.number: change for forwarded, change in changes if forwarded.number >= lowest}
            sessions[write.version] = write.record.member, lowest, kept
        return sessions

    def applied(self, index: Index, batch: Batch) -> None:
        """Check that a batch which a backup applies is committed."""
        worker = self.workers.get(running_loop().name)
        if worker is None or worker.log is None or worker.name in self.promoting or not batch.count:
            return
        if batch.kind is Kind.MERGED:
            return
        state = worker.log.state
        if state.replica.index is not index or state.member.role is not Role.BACKUP:
            return
        last = batch.first_sequence + batch.count - 1
        if last > len(self.committed) or self.committed[last - 1].version.epoch != batch.origin:
            self.world.accuse(
                f"{worker.name} applied write {batch.origin}-{last} of {batch.position}, which is not committed"
            )

    def _shows(self, revision: int) -> None:
        """Check that a revision which a process tells is committed."""
        if revision > self.past.model.revision:
            self.world.accuse(
                f"{running_loop().name} tells revision {revision}, and {self.past.model.revision} is the last one that "
                f"is committed"
            )

    def taken(self, position: int) -> None:
        """Check that what a feed hands out is committed, and so is everything that it passes by."""
        self._shows(position)

    def confirmed(self, present: int, shown: int) -> None:
        """Check that who asks how far a store has come is told all that anybody was told before."""
        self._shows(present)
        if present < shown:
            self.world.accuse(
                f"{running_loop().name} says that {present} is the present revision, asked after {shown} was told"
            )

    def _block_seen(self, name: str, inode: Inode, page: int) -> None:
        if name == f"{names.MAILBOXES}/{Box.PROBES}":
            for probe in msgspec.json.decode(payload(inode, page), type=Probe).logs:
                self._probes.setdefault(probe.nonce, (probe.epoch, self.commits_of[probe.epoch]))
        elif name == f"{names.MAILBOXES}/{Box.PRESENCE}":
            self._shown(page, msgspec.json.decode(payload(inode, page), type=Presence))
        elif name == f"{names.MAILBOXES}/{Box.ANSWERS}":
            block = msgspec.json.decode(payload(inode, page), type=Answers)
            for answers in block.logs:
                self._answered(answers, block.incarnation)

    def _shown(self, slot: int, presence: Presence) -> None:
        """Check that nobody goes on in a slot that was given to another."""
        owner, since = self._owners.get(slot, (presence.member, 0.0))
        if presence.member == owner:
            self._shown_at[slot] = -registry.VACANT_AFTER if presence.left else self.world.now
        elif self.world.now - since > _UNAWARE_SECONDS:
            self.world.accuse(f"{presence.member} goes on in slot {slot}, which was given to {owner}")

    def _registered(self, registration: Registration) -> None:
        """Check that a slot is taken away only from a member that is gone. Clocks may run a quarter faster.

        The first registration of a slot takes nothing away: the file server may have forgotten an earlier one.
        """
        slot, now = registration.slot, self.world.now
        if registration.given_by and now - self._shown_at.get(slot, 0.0) < 0.75 * registry.VACANT_AFTER:
            self.world.accuse(f"slot {slot} was taken from {self._owners[slot][0]}, which lives")
        self._owners[slot] = registration.member, now

    def _block_written(self, name: str, inode: Inode, page: int) -> None:
        del inode
        if name.startswith(f"{names.CLAIMS}/") and page * BLOCK_BYTES == POINTER_OFFSET:
            self._pointed(int(name.partition("/")[2]))

    def _linked(self, name: str, inode: Inode) -> None:
        """Check that a takeover rests on a planned seal, or on a folder that works at the challenger: its canary."""
        if name.startswith(f"{names.MEMBERS}/"):
            self._registered(msgspec.json.decode(payload(inode, 0), type=Registration))
        if not name.startswith(f"{names.CLAIMS}/"):
            return
        claim = msgspec.json.decode(payload(inode, 0), type=Claim)
        if claim.verdict == Verdict.HANDED_OVER and not self._handed_over(claim):
            self.world.accuse(f"{claim.member} followed epoch {claim.follows} at once, which nobody handed over to it")
        if claim.verdict not in {Verdict.PRIMARY_FAILED, Verdict.PRIMARY_WEDGED}:
            return
        if msgspec.json.decode(claim.evidence, type=Evidence).canary_took is None:
            self.world.accuse(f"{claim.member} claimed epoch {claim.epoch} although its own canary was not kept")
        if self.only_pauses:
            self._explained(claim)

    def _explained(self, claim: Claim) -> None:
        """Check that a main which was replaced had pauses of its own: those of the observer explain nothing."""
        holder = self._holder(claim.follows)
        main = next(
            (w for w in self.workers.values() if w.node is not None and w.node.host.incarnation == holder), None
        )
        if main is None or main.name == claim.member:
            return
        paused = main.loop.paused_since(self.world.now - _LATELY_SECONDS)
        if paused < TIMING.suspect_after:
            self.world.accuse(
                f"{claim.member} replaced {main.name}, the main of epoch {claim.follows}, which was paused for no more "
                f"than {paused:.3f} s within the last {_LATELY_SECONDS:g} s"
            )

    def _handed_over(self, claim: Claim) -> bool:
        """Return whether the followed epoch was handed over, to whomever or to this very incarnation."""
        followed = self.disk.find(names.claim(claim.follows))
        payload = None if followed is None else unpack(followed.page(SEAL_OFFSET // BLOCK_BYTES))
        seal = msgspec.json.decode(payload, type=Seal) if isinstance(payload, bytes) else None
        return seal is not None and seal.planned and seal.successor in {"", claim.incarnation}

    def passed(self, service: Service, asked: int) -> None:
        """Check that a read is answered only after a seal check that began after its arrival found no seal."""
        if self.checked.get(service._watch, 0) < asked:
            self.world.accuse(f"a read in epoch {service.epoch} was answered without a check that began after it came")

    def heard(self, incarnation: str) -> None:
        """Check that a keep-alive which counts was made just now, whoever repeats it or holds it back.

        Pauses of the receiver do not count.
        """
        now = self.world.now
        since = self.silent_since.get(incarnation, now)
        silent_for = now - since - running_loop().paused_since(since)
        if silent_for > HEARD_WITHIN:
            self.world.accuse(f"{running_loop().name} takes a main for alive that is silent for {silent_for:.3f} s")

    def remembers(self, member: Member, claim: Claim) -> None:
        """Check that the file server can no longer forget a claim that a member remembers."""
        worker = self.workers.get(running_loop().name)
        if worker is None:
            return
        if worker.mount.disk is not self.disk:
            self.world.accuse(f"{member.name} takes part in another cluster, whose volume was mounted by mistake")
            return
        found = self.disk.directories[names.CLAIMS].durable.get(names.claim(claim.epoch).rpartition("/")[2])
        if found is None or msgspec.json.decode(payload(found, 0), type=Claim).nonce != claim.nonce:
            self.world.accuse(f"{member.name} remembers epoch {claim.epoch}, which the file server may still forget")
        slot = 0 if worker.node is None else worker.node.host.slot
        registrations = [
            msgspec.json.decode(payload(inode, 0), type=Registration)
            for inode in self.disk.directories[names.MEMBERS].durable.values()
        ]
        if worker.node is not None and (member.name, slot) not in {(one.member, one.slot) for one in registrations}:
            self.world.accuse(f"{member.name} lives in slot {slot}, which the file server may still forget")

    def _removed(self, name: str) -> None:
        """Check that nothing is removed that the newest manifest names or its epoch has appended since.

        Nor that manifest, nor one of a later epoch, whose claim may be about to point to it.
        """
        segment = names.segment_of(name.rpartition("/")[2]) if name.startswith(f"{names.SEGMENTS}/") else None
        manifest = None if self.world.rotten else self._newest_manifest()
        if name.startswith(f"{names.MANIFESTS}/") and manifest is not None:
            epoch = names.epoch_of_manifest(name.rpartition("/")[2])
            if epoch is not None and epoch >= manifest.epoch:
                self.world.accuse(f"{name} was removed although nothing newer than epoch {manifest.epoch} serves")
        if segment is None or manifest is None:
            return
        own = segment[0] == manifest.epoch and segment[1] < names.MERGED_FROM
        if own or segment in {(cut.epoch, cut.number) for cut in manifest.cuts}:
            self.world.accuse(f"{name} was removed, which the manifest of epoch {manifest.epoch} needs")

    def _newest_manifest(self) -> Manifest | None:
        for name in sorted(self.disk.directories[names.CLAIMS].seen, reverse=True):
            claim = self.disk.find(f"{names.CLAIMS}/{name}")
            page = ZERO if claim is None else claim.durable.get(POINTER_OFFSET // BLOCK_BYTES, ZERO)
            pointer = decode_pointer(page, int(name))
            if isinstance(pointer, Pointer):
                file = self.disk.find(pointer.manifest)
                content = None if file is None else unpack(file.durable_read(0, file.size))
                return msgspec.json.decode(content, type=Manifest) if isinstance(content, bytes) else None
        return None

    def _answered(self, answers: LogAnswers, incarnation: str) -> None:
        """Check that an answer proves a commit that began after the probe, in the epoch of the probe."""
        for answer in answers.answers.values():
            epoch, commits = self._probes[answer.nonce]
            if epoch != answers.epoch and self._holder(epoch) != incarnation:
                self.world.accuse(f"the main of epoch {answers.epoch} answered a probe about epoch {epoch}")
            elif not answer.full and epoch == answers.epoch and self.commits_of[epoch] == commits:
                self.world.accuse(f"the main of epoch {epoch} answered a probe without a commit since")

    def _holder(self, epoch: int) -> str:
        """Return the incarnation that claimed an epoch: its main may have rolled to the next one meanwhile."""
        claim = self.disk.find(names.claim(epoch))
        return "" if claim is None else msgspec.json.decode(payload(claim, 0), type=Claim).incarnation

    def _pointed(self, epoch: int) -> None:
        """Check at the manifest of an epoch that every epoch down to its predecessor is sealed durably."""
        for lower in range(epoch - 1, 0, -1):
            claim = self.disk.find(f"claims/{lower:010d}")
            if claim is None:
                self.world.accuse(f"the claim of epoch {lower} is gone")
                return
            if claim.durable.get(SEAL_OFFSET // BLOCK_BYTES, ZERO) == ZERO:
                self.world.accuse(f"epoch {epoch} got its manifest before epoch {lower} was sealed for good")
                return
            if claim.durable.get(POINTER_OFFSET // BLOCK_BYTES, ZERO) != ZERO:
                return


def payload(inode: Inode, page: int) -> bytes:
    payload = unpack(inode.page(page))
    assert isinstance(payload, bytes)
    return payload


def _told(change: Change) -> Change:
    """Return what every reader holds of a change: not its revision, which no merged segment tells."""
    return msgspec.structs.replace(change, revision=0)
