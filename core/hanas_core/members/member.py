"""What a worker is: joining, backup, elect or main, and what makes it change (docs/protocol.md, sections 2 and 4).

A pure state machine around `hanas_core.members.detector`. The own time of the process (seconds) and events come in;
what the worker must do comes out, in order.

    joining --sees a claim of another--> backup      backup --its own claim--> elect --promoted--> main
    elect, main --sees a higher claim of another, or its epoch ends--> backup

Nobody promotes itself without a claim. A claim counts as one's own by the incarnation, never by the member's name, and
each own claim is acted upon once.
"""

import math
from enum import Enum, StrEnum
from typing import NamedTuple

from hanas_core.log.claimfile import Claim
from hanas_core.members.alerts import Condition
from hanas_core.members.detector import Conclude, Detector, StartProbe
from hanas_core.members.roles import Role
from hanas_core.members.timing import Timing
from hanas_core.members.verdicts import TAKEOVER_VERDICTS, Severity, Verdict
from hanas_core.volume.errors import Corruption, FolderError

_VOLUME = "folder"
"""What a condition is about that concerns no member."""


class RoleEvent(Enum):
    """What changes a role."""

    OWN_CLAIM = "a higher claim of this incarnation is seen"
    OTHER_CLAIM = "a higher claim of another one is seen"
    PROMOTED = "the takeover is complete"
    ENDED = "the own epoch is over"


_NEXT = {
    **{(role, RoleEvent.OWN_CLAIM): Role.ELECT for role in Role},
    **{(role, RoleEvent.OTHER_CLAIM): Role.BACKUP for role in Role},
    (Role.ELECT, RoleEvent.PROMOTED): Role.MAIN,
    (Role.ELECT, RoleEvent.ENDED): Role.BACKUP,
    (Role.MAIN, RoleEvent.ENDED): Role.BACKUP,
}
"""Every change of a role; whatever is not here does not happen."""


_LONGEST_STAY_SECONDS = 3600.0
"""An isolated main that nobody could replace hands over again after at most this time."""


class IsolationPolicy(StrEnum):
    """What a main does that reaches no backup and no overseer."""

    STAY = "Stay"
    STEP_DOWN = "StepDown"


class Follow(NamedTuple):
    """Tail the log of this claim's epoch."""

    claim: Claim


class Promote(NamedTuple):
    """Run the takeover for this claim, which is one's own."""

    claim: Claim


class StepDown(NamedTuple):
    """Stop serving, seal one's own epoch, and follow this claim."""

    claim: Claim


class HandOver(NamedTuple):
    """Seal one's own epoch as a planned hand-over."""

    why: str


Effect = Follow | Promote | StepDown | HandOver | StartProbe | Conclude


class Member:
    """One incarnation of a worker."""

    def __init__(self, name: str, incarnation: str, timing: Timing, policy: IsolationPolicy) -> None:
        """Begin as a joining worker that knows of no claim."""
        self.name = name
        self.incarnation = incarnation
        self.role = Role.JOINING
        self.claim: Claim | None = None
        self.detector = Detector(timing)
        self.lost: tuple[str, int] | None = None
        """The main that this main replaced because it failed, and its epoch, until that member is back."""
        self.full = False
        """This main finds no room on the volume."""
        self.blind = False
        """This worker cannot read the folder or write to it, whatever keep-alives say."""
        self.keyless = ""
        """What this worker cannot read of the log for want of a key; empty if nothing."""
        self.twin = ""
        """What to tell of another process that has this member's id; empty without one."""
        self.unserved = 0
        """How many epochs were claimed since the last one that served."""
        self.barren = 0
        """How many own epochs in a row ended while their first batch waited, since a batch was committed by anyone."""
        self.barren_why = ""
        """How the last of these ended."""
        self.obstacle: FolderError | None = None
        """Why a takeover by this member failed, or would fail, since an epoch last served."""
        self.unasked: FolderError | None = None
        """Why this member could not ask for the last takeover that it concluded."""
        self.scarce = ""
        """What this member lacks on the volume that it will need; empty while it has everything."""
        self.unprepared = ""
        """Why this member cannot prepare what its next epoch, or the present one, will need; empty while it can."""
        self.damage = ""
        """What is wrong with the folder, where that is known."""
        self._timing = timing
        self._policy = policy
        self._tried_epoch = 0
        self._reached_at = 0.0
        self._isolated = False
        self._departures = 0
        """How often this main handed over because it was isolated, since another one last served."""
        self._stays_until = -math.inf

    @property
    def epoch(self) -> int:
        """The highest epoch that is known; 0 before any."""
        return 0 if self.claim is None else self.claim.epoch

    @property
    def verdict(self) -> Verdict:
        """What is wrong with the main, seen from here."""
        if self.blind:
            return Verdict.FOLDER_UNAVAILABLE
        if self.role is Role.MAIN:
            if self._isolated:
                return Verdict.PRIMARY_ISOLATED
            return Verdict.FOLDER_FULL if self.full else Verdict.HEALTHY
        if self.role is Role.BACKUP:
            return self.detector.verdict
        return Verdict.UNKNOWN

    def see(self, now: float, claim: Claim, unserved: int) -> list[Effect]:
        """Take note of a claim, seen by whatever way. ``unserved``: epochs claimed since the last one that served.

        Another claim of the same epoch counts as newer: the one that was seen first was lost before it was durable.
        """
        if claim.epoch < self.epoch or (self.claim is not None and claim.nonce == self.claim.nonce):
            return []
        held_epoch = self.role in {Role.ELECT, Role.MAIN}
        self.claim, self.lost, self.unserved = claim, None, unserved
        self.detector.follow(now, claim.epoch, claim.incarnation, unserved + self.barren)
        if claim.incarnation == self.incarnation and claim.epoch > self._tried_epoch:
            self._tried_epoch = claim.epoch
            self.role = _NEXT[self.role, RoleEvent.OWN_CLAIM]
            return [Promote(claim)]
        self.role = _NEXT[self.role, RoleEvent.OTHER_CLAIM]
        return [StepDown(claim) if held_epoch else Follow(claim)]

    def promoted(self, now: float, epoch: int) -> bool:
        """Complete the takeover for ``epoch``; False if a higher claim was seen meanwhile, and it must not serve."""
        role = _NEXT.get((self.role, RoleEvent.PROMOTED))
        if role is None or self.claim is None or epoch != self.epoch:
            return False
        self.role = role
        self.served()
        self._reached_at, self._isolated, self.full = now, False, False
        failed = self.claim.verdict in {Verdict.PRIMARY_FAILED, Verdict.PRIMARY_WEDGED}
        other = self.claim.previous_main != self.name  # who takes over after its own failure is back
        self.lost = (self.claim.previous_main or "", self.claim.follows) if failed and other else None
        return True

    def served(self) -> None:
        """Take note that the highest known epoch serves, or has served."""
        self.unserved, self.obstacle = 0, None
        if self.claim is not None and self.claim.incarnation != self.incarnation:
            self._departures, self._stays_until = 0, -math.inf
        self.detector.served(self.barren)

    def rolled(self, now: float, claim: Claim) -> None:
        """Go on as the main of ``claim.epoch``, which this main began after its own to compact the log."""
        self.claim, self._tried_epoch = claim, claim.epoch
        self.detector.follow(now, claim.epoch, claim.incarnation, 0)

    def fruited(self) -> None:
        """Take note that a batch was committed, by this main or by the one that it follows."""
        if self.barren:
            self.barren = 0
            self.detector.served(self.unserved)

    def withered(self, why: str) -> None:
        """Take note that one's own epoch ends while its first batch waits. The next one of this member waits longer."""
        self.barren, self.barren_why = self.barren + 1, why

    def spoiled(self, epoch: int) -> None:
        """Never take up ``epoch``: what this incarnation began for it is not known to have ended."""
        self._tried_epoch = max(self._tried_epoch, epoch)

    def failed(self, now: float, epoch: int, obstacle: FolderError | None) -> None:
        """End one's own epoch before it served. The next takeover, of whomever, waits as long as all these claims ask.

        ``obstacle``: None if a higher epoch sealed it.
        """
        self.obstacle = obstacle
        self.ended(now, epoch, max(1, self.unserved))

    def ended(self, now: float, epoch: int, unserved: int) -> None:
        """End one's own epoch, by its seal or by an error. Without a higher claim, wait for one like any other."""
        role = _NEXT.get((self.role, RoleEvent.ENDED))
        if role is None or self.claim is None or epoch != self.epoch:
            return
        self.role = role
        self.lost = None
        self.detector.follow(now, epoch, self.claim.incarnation, unserved + self.barren)

    def check_invariants(self) -> None:
        """Assert what must hold between two events."""
        assert (self.role is Role.JOINING) == (self.claim is None)
        assert self.lost is None or self.role is Role.MAIN, "only the main misses the one before"
        if self.role in {Role.ELECT, Role.MAIN}:
            assert self.claim is not None
            assert self.claim.incarnation == self.incarnation, "nobody serves an epoch that it did not claim"
            assert self._tried_epoch >= self.epoch, "each claim is taken up once"

    def reached(self, now: float) -> None:
        """Take note that a backup or an overseer answered this main."""
        self._reached_at = now

    def returned(self, member: str) -> None:
        """Stop missing ``member``: it shows that it lives and is no main."""
        if self.lost is not None and self.lost[0] == member:
            self.lost = None

    def tick(self, now: float, nonce: str, *, others_connected: bool = False, paused: float = 0.0) -> list[Effect]:
        """Return what to do after time has passed. ``others_connected``: a member shows that it is not isolated.

        ``paused``: as of the detector.
        """
        if self.role is Role.MAIN:
            was_isolated = self._isolated
            self._isolated = now - self._reached_at > self._timing.isolation_after
            leaves = was_isolated and self._isolated and others_connected
            if leaves and self._policy is IsolationPolicy.STEP_DOWN and now >= self._stays_until:
                self._stays_until = now + min(self._timing.most_patience * 2.0**self._departures, _LONGEST_STAY_SECONDS)
                self._departures = min(self._departures + 1, 16)
                why = "isolated: no backup and no overseer is reachable, while another member is not isolated"
                return [HandOver(why)]
        if self.role is Role.BACKUP:
            effect = self.detector.tick(now, nonce, paused)
            return [] if effect is None else [effect]
        return []

    def conditions(self) -> list[Condition]:
        """Return what is wrong now, for the alerts."""
        condition = self._condition()
        conditions = [] if condition is None else [condition]
        if self.twin:
            advice = "the process that was started later ends by itself"
            conditions.append(Condition(Verdict.UNKNOWN, self.name, Severity.URGENT, self.twin, advice))
        if self.keyless:
            conditions.append(self._lacks_a_key())
        elif self.obstacle is not None and self.role is Role.BACKUP:
            conditions.append(self._hindered(self.obstacle))
        elif self.unasked is not None and self.verdict in TAKEOVER_VERDICTS:
            conditions.append(self._hindered(self.unasked))
        elif self.barren and self.role is Role.BACKUP:
            conditions.append(self._cannot_commit())
        if self.scarce and self.verdict is not Verdict.FOLDER_FULL:
            message = f"the volume is nearly full, seen from {self.name}: {self.scarce}; writes go on"
            advice = (
                "make room on the volume, of bytes and of files (df, df -i, quota), or enlarge it; writes are refused "
                "before takeovers become impossible"
            )
            conditions.append(Condition(Verdict.FOLDER_FULL, _VOLUME, Severity.URGENT, message, advice))
        if self.unprepared and self.verdict not in {Verdict.FOLDER_UNAVAILABLE, Verdict.FOLDER_FULL}:
            conditions.append(self._short_of_segments("writes go on in the present one"))
        if self.lost is not None:
            member, epoch = self.lost
            message = f"{member} failed as the main of epoch {epoch}; {self.name} took over"
            advice = f"look at the log of {member} and start it again; it will join as a backup"
            conditions.append(Condition(Verdict.PRIMARY_FAILED, member, Severity.URGENT, message, advice))
        return conditions

    def _hindered(self, obstacle: FolderError) -> Condition:
        advice = (
            "stop all workers, copy the folder, run 'hanas fsck' on it and restore what it names"
            if isinstance(obstacle, Corruption)
            else f"check the volume and its mount at {self.name}"
        )
        return Condition(
            Verdict.TAKEOVER_FAILED,
            self.name,
            Severity.CRITICAL,
            f"no request is served, and {self.name} cannot take over: {obstacle}",
            f"{advice}; the takeover goes on by itself as soon as the log can be read",
            self._timing.link_confirm,
        )

    def _lacks_a_key(self) -> Condition:
        return Condition(
            Verdict.TAKEOVER_FAILED,
            self.name,
            Severity.CRITICAL,
            f"{self.name} cannot read the whole log, so it will not take over: {self.keyless}",
            f"put that key into the file at {self.name}, behind the others; it is read again by itself",
        )

    def _cannot_commit(self) -> Condition:
        return Condition(
            Verdict.TAKEOVER_FAILED,
            self.name,
            Severity.CRITICAL,
            f"{self.name} could not commit anything as the main, {self.barren} times in a row: {self.barren_why}",
            f"check the volume and its mount at {self.name}; it becomes the main again after ever longer waits",
        )

    def _short_of_segments(self, consequence: str) -> Condition:
        return Condition(
            Verdict.FOLDER_UNAVAILABLE,
            self.name,
            Severity.CRITICAL,
            f"{self.name} can prepare no further segment: {self.unprepared}; {consequence}",
            f"check the volume and its mount at {self.name}; it is tried again all the time",
            self._timing.link_confirm,
        )

    def _condition(self) -> Condition | None:
        verdict, main = self.verdict, "" if self.claim is None else self.claim.member
        match verdict:
            case Verdict.LINK_FAILED:
                return Condition(
                    verdict,
                    main,
                    Severity.NOTICE,
                    f"link failed, primary alive: not urgent. {self.name} gets no keep-alives from {main}, "
                    "which answers in the folder",
                    f"check the network from {main} to {self.name}; reads and writes go on meanwhile",
                    self._timing.link_confirm,
                )
            case Verdict.FOLDER_FULL if self.unprepared:
                return self._short_of_segments("writes are refused, reads go on")
            case Verdict.FOLDER_FULL:
                return Condition(
                    verdict,
                    main,
                    Severity.CRITICAL,
                    "the volume is full: writes are refused, reads go on",
                    "make room on the volume or enlarge it; deletes of keys still work for a while",
                )
            case Verdict.FOLDER_UNAVAILABLE if self.damage:
                return Condition(
                    verdict,
                    self.name,
                    Severity.CRITICAL,
                    f"{self.name} finds that the communication folder is not as it should be: {self.damage}",
                    f"check the mount of the volume at {self.name} and the file server; if files were removed or "
                    "replaced, put them back, or stop all workers, restore a backup and run `hanas fsck` on the folder",
                )
            case Verdict.FOLDER_UNAVAILABLE:
                consequence = (
                    "it cannot commit, and a backup whose folder works takes over"
                    if self.role is Role.MAIN
                    else f"it cannot find out whether {main or 'a main'} lives, and will not take over"
                )
                return Condition(
                    verdict,
                    self.name,
                    Severity.CRITICAL,
                    f"{self.name} cannot use the communication folder, so {consequence}",
                    f"check the mount of the volume at {self.name} and the file server",
                )
            case Verdict.PRIMARY_ISOLATED:
                return Condition(
                    verdict,
                    self.name,
                    Severity.URGENT,
                    f"{self.name} is the main and reaches no backup and no overseer",
                    f"check the network of {self.name}; clients that reach it are served",
                )
            case _:
                return None
