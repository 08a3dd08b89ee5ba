"""What a worker is: joining, backup, elect or main, and what makes it change (docs/protocol.md, sections 2 and 4).

A pure state machine around `hanas_core.members.detector`. Time (monotonic seconds) and events come in; what the worker
must do comes out, in order.

    joining --sees a claim of another--> backup      backup --its own claim--> elect --promoted--> main
    elect, main --sees a higher claim of another, or its epoch ends--> backup

Nobody promotes itself without a claim. A claim counts as one's own by the incarnation, never by the member's name, and
each own claim is acted upon once.
"""

from enum import StrEnum
from typing import NamedTuple

from hanas_core.log.claims import Claim
from hanas_core.members.alerts import Condition
from hanas_core.members.detector import Conclude, Detector, StartProbe
from hanas_core.members.roles import Role
from hanas_core.members.timing import Timing
from hanas_core.members.verdicts import Severity, Verdict


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
        """The main that this one replaced because it failed, and its epoch, until it is back."""
        self.full = False
        """This main finds no room on the volume."""
        self.blind = False
        """This worker cannot read the folder or write to it, whatever keep-alives say."""
        self._timing = timing
        self._policy = policy
        self._tried_epoch = 0
        self._reached_at = 0.0
        self._isolated = False

    @property
    def epoch(self) -> int:
        """The highest epoch that is known; 0 before any."""
        return 0 if self.claim is None else self.claim.epoch

    @property
    def verdict(self) -> Verdict:
        """What is the matter with the main, seen from here."""
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
        """A claim was seen, by whatever way. ``unserved``: epochs claimed since the last one that served.

        Another claim of the same epoch counts as newer: the one that was seen first was lost before it was durable.
        """
        if claim.epoch < self.epoch or (self.claim is not None and claim.nonce == self.claim.nonce):
            return []
        held = self.role in {Role.ELECT, Role.MAIN}
        self.claim = claim
        self.detector.follow(now, claim.epoch, claim.incarnation, unserved)
        if claim.incarnation == self.incarnation and claim.epoch > self._tried_epoch:
            self._tried_epoch = claim.epoch
            self.role = Role.ELECT
            return [Promote(claim)]
        self.role = Role.BACKUP
        return [StepDown(claim) if held else Follow(claim)]

    def promoted(self, now: float, epoch: int) -> bool:
        """The takeover for ``epoch`` is complete; False if a higher claim was seen meanwhile, and it must not serve."""
        if self.role is not Role.ELECT or self.claim is None or epoch != self.epoch:
            return False
        self.role = Role.MAIN
        self._reached_at, self._isolated, self.full = now, False, False
        failed = self.claim.verdict in {Verdict.PRIMARY_FAILED, Verdict.PRIMARY_WEDGED}
        other = self.claim.previous_main != self.name  # who takes over after its own failure is back
        self.lost = (self.claim.previous_main or "", self.claim.follows) if failed and other else None
        return True

    def rolled(self, now: float, claim: Claim) -> None:
        """This main began ``claim.epoch`` after its own, to compact the log."""
        self.claim, self._tried_epoch = claim, claim.epoch
        self.detector.follow(now, claim.epoch, claim.incarnation, 0)

    def spoiled(self, epoch: int) -> None:
        """What was begun for ``epoch`` is not known to have ended: this incarnation never takes it up again."""
        self._tried_epoch = max(self._tried_epoch, epoch)

    def ended(self, now: float, epoch: int, unserved: int) -> None:
        """One's own epoch is over, by its seal or by an error. Without a higher claim, wait for one like any other."""
        if self.claim is None or epoch != self.epoch or self.role not in {Role.ELECT, Role.MAIN}:
            return
        self.role = Role.BACKUP
        self.lost = None
        self.detector.follow(now, epoch, self.claim.incarnation, unserved)

    def reached(self, now: float) -> None:
        """A backup or an overseer answered this main."""
        self._reached_at = now

    def returned(self, member: str) -> None:
        """A member shows that it lives and is no main: it is lost no longer."""
        if self.lost is not None and self.lost[0] == member:
            self.lost = None

    def tick(self, now: float, nonce: str, *, others_connected: bool = False) -> list[Effect]:
        """Time has passed. ``others_connected``: a mailbox shows a member that is not isolated."""
        if self.role is Role.MAIN:
            was_isolated = self._isolated
            self._isolated = now - self._reached_at > self._timing.isolation_after
            leaves = was_isolated and self._isolated and others_connected
            if leaves and self._policy is IsolationPolicy.STEP_DOWN:
                return [
                    HandOver("isolated: no backup and no overseer is reachable, while another member is not isolated")
                ]
            return []
        if self.role is Role.BACKUP:
            effect = self.detector.tick(now, nonce)
            return [] if effect is None else [effect]
        return []

    def conditions(self) -> list[Condition]:
        """What is wrong just now, for the alerts."""
        main = "" if self.claim is None else self.claim.member
        found = []
        match self.verdict:
            case Verdict.LINK_FAILED:
                found.append(
                    Condition(
                        Verdict.LINK_FAILED,
                        main,
                        Severity.NOTICE,
                        f"link failed, primary alive: not urgent. {self.name} gets no keep-alives from {main}, "
                        "which answers in the folder",
                        f"check the network from {main} to {self.name}; reads and writes go on meanwhile",
                        self._timing.link_confirm,
                    )
                )
            case Verdict.FOLDER_FULL:
                found.append(
                    Condition(
                        Verdict.FOLDER_FULL,
                        main,
                        Severity.CRITICAL,
                        "the volume is full: writes are refused, reads go on",
                        "make room on the volume or enlarge it; reads go on, and so do deletes for a while",
                    )
                )
            case Verdict.FOLDER_UNAVAILABLE:
                hence = (
                    "it cannot commit, and a backup whose folder works takes over"
                    if self.role is Role.MAIN
                    else f"it cannot tell whether {main or 'a main'} lives, and will not take over"
                )
                found.append(
                    Condition(
                        Verdict.FOLDER_UNAVAILABLE,
                        self.name,
                        Severity.CRITICAL,
                        f"{self.name} cannot use the communication folder, so {hence}",
                        f"check the mount of the volume at {self.name} and the file server",
                    )
                )
            case Verdict.PRIMARY_ISOLATED:
                found.append(
                    Condition(
                        Verdict.PRIMARY_ISOLATED,
                        self.name,
                        Severity.URGENT,
                        f"{self.name} is the main and reaches no backup and no overseer",
                        f"check the network of {self.name}; clients that reach it are served",
                    )
                )
            case _:
                pass
        if self.lost is not None:
            member, epoch = self.lost
            found.append(
                Condition(
                    Verdict.PRIMARY_FAILED,
                    member,
                    Severity.URGENT,
                    f"{member} failed as the main of epoch {epoch}; {self.name} took over",
                    f"look at the log of {member} and start it again; it will join as a backup",
                )
            )
        return found
