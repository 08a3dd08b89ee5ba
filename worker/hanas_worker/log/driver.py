"""One log at this worker: following, takeover, service and hand-over (docs/protocol.md, section 2).

The driver feeds the state machine of `hanas_core.members.member`, carries out its effects, and runs the log's duties,
each on its interval or when it is woken:

    watch     newer claims, the manifest of the followed epoch, planned hand-overs
    log       tailing as a backup                              hanas_worker.log.follower
    places    where values have moved                          hanas_worker.log.follower
    keys      which keys the log is encrypted with             hanas_worker.log.keyring
    prepare   zero-written space for the next segment          hanas_worker.log.tenure
    stock     more such space, while the log fills fast        hanas_worker.log.tenure
    compact   merging old segments, and a new epoch for that   hanas_worker.log.compactor
    snapshot  the index, for cold starts                       hanas_worker.log.snapshots
    history   how far history reaches back                     hanas_worker.log.historian
    leases    when leases expire                               hanas_worker.log.lessor
    remove    what processes that died left behind             hanas_worker.log.caretaker
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, NamedTuple, assert_never

import msgspec

from hanas_core.epochs import arbitration
from hanas_core.epochs.arbitration import Challenge, Expected
from hanas_core.log import claims
from hanas_core.log.claimfile import Claim, Seal
from hanas_core.members.alerts import AlertBook
from hanas_core.members.detector import MOST_UNSERVED, Conclude, StartProbe
from hanas_core.members.documents import Link, LogPresence
from hanas_core.members.member import Effect, Follow, HandOver, Promote, StepDown
from hanas_core.members.roles import LinkState, MainState, Role
from hanas_core.members.verdicts import TAKEOVER_VERDICTS, Verdict
from hanas_core.volume.errors import FolderError, NoSpace
from hanas_core.volume.folder import Folder
from hanas_worker.host.duties import Duty
from hanas_worker.log import lessor, succession
from hanas_worker.log.caretaker import LOOKS, Caretaker
from hanas_worker.log.compactor import Compactor
from hanas_worker.log.follower import Follower
from hanas_worker.log.hearing import Hearing
from hanas_worker.log.historian import Historian
from hanas_worker.log.keyring import Keyring
from hanas_worker.log.news import LogNews
from hanas_worker.log.service import Service
from hanas_worker.log.snapshots import Snapshots
from hanas_worker.log.state import LogState
from hanas_worker.log.succession import NotMain, TryAgain
from hanas_worker.log.tenure import Tenure
from hanas_worker.log.values import Values
from hanas_worker.log.ways import Ways

_log = logging.getLogger("hanas.worker")

_LINK_STATES = {
    Verdict.HEALTHY: LinkState.UP,
    Verdict.FOLDER_FULL: LinkState.UP,
    Verdict.LINK_FAILED: LinkState.FAILED,
}


class Sighting(NamedTuple):
    """The highest claim, how many up to it never served as far as it matters, and how its own main ended its epoch."""

    claim: Claim
    unserved: int
    seal: Seal | None
    """None: it has not, or the epoch has not served."""


class LogDriver:
    """Drives one log at this worker."""

    def __init__(self, state: LogState, ways: Ways) -> None:
        """Know nothing yet; `duties` and `tick` do the rest."""
        self.state = state
        self.book = AlertBook(state.host.settings.member)
        self.tenure = Tenure(state)
        self.values = Values(state)
        self.keyring = Keyring(state)
        self.compactor = Compactor(state, self.tenure, self.keyring, self._learn_places)
        self._caretaker = Caretaker(state, self.tenure)
        self.hearing = Hearing(state, self._note_conditions, self._superseded)
        self._host = state.host
        self._ways = ways
        self._snapshots = Snapshots(state)
        self._historian = Historian(state)
        self._follower = Follower(state)
        self._claiming: set[asyncio.Task[None]] = set()
        """Tasks that ask for a takeover or carry one out."""
        self._conditions: object = None
        """What the presence block and the last report show."""

    # ------------------------------------------------------------------ what the API asks

    @property
    def serving(self) -> Service | None:
        """The service while this worker is the main."""
        return self.state.service

    @property
    def main_url(self) -> str | None:
        """Where clients are redirected to; None while no main was heard to serve, or it is this worker."""
        member, own_url = self.state.member, self._host.settings.advertise_url
        if member.claim is None or member.role is not Role.BACKUP or member.detector.verdict in TAKEOVER_VERDICTS:
            return None
        if member.claim.incarnation == member.incarnation or self.state.served_epoch != member.epoch:
            return None
        if not member.detector.met:
            return None  # nothing proves that it is a main of this folder: the claim may be one of another cluster
        if member.claim.advertise_url == own_url:
            return None  # the main was an earlier run of this worker: clients would be sent round in a circle
        return member.claim.advertise_url

    @property
    def ready(self) -> bool:
        """This worker serves, forwards, or redirects to a main that serves."""
        return self.serving is not None or self.main_url is not None

    # ------------------------------------------------------------------ its duties

    def duties(self) -> list[Coroutine[Any, Any, None]]:
        """Return the duties, each of which goes on for ever."""
        timing = self._host.timing
        return [
            self._host.repeat(duty, interval, do, self.state.wakers[duty])
            for duty, interval, do in (
                (Duty.WATCH, timing.watch_interval, self.look),
                (Duty.LOG, timing.tail_interval, self._follower.catch_up),
                (Duty.PLACES, timing.watch_interval, self._learn_places),
                (Duty.KEYS, timing.presence_interval, self.keyring.look),
                (Duty.PREPARE, timing.presence_interval, self.tenure.prepare),
                (Duty.STOCK, timing.presence_interval, self.tenure.stock),
                (Duty.COMPACT, timing.presence_interval, self.compactor.compact),
                (Duty.SNAPSHOT, timing.presence_interval, self._snapshots.take),
                (Duty.HISTORY, timing.presence_interval, self._historian.look),
                (Duty.LEASES, lessor.LOOK_SECONDS, self._look_at_leases),
                (Duty.REMOVE, timing.leftovers_after / LOOKS, self._caretaker.tidy),
            )
        ]

    async def _look_at_leases(self) -> None:
        if (present := self.state.lessor) is not None:
            await present.look()

    async def _learn_places(self) -> None:
        if await self._follower.learn_places():
            self.values.close_removed()

    async def look(self) -> None:
        """Look at the claims. Raises FolderError."""
        host, member = self._host, self.state.member
        sighting = await host.in_lane(Duty.WATCH, _look(host.folder, self.state.witness().claim))
        if sighting is None or self.tenure.rolling or sighting.claim.epoch < member.epoch:
            return
        claim = sighting.claim
        self.do(member.see(host.awake, claim, sighting.unserved))
        if claim.epoch != member.epoch or member.role is not Role.BACKUP:
            return
        if sighting.unserved == 0:
            member.served()
        if sighting.seal is None:
            return
        member.detector.gave_up(claim.epoch)
        invited = sighting.seal.invites(member.incarnation)
        if sighting.seal.planned and not invited:  # the successor that it names has its time to claim
            member.detector.served(member.barren + 1)
        if invited and claim.incarnation != member.incarnation and not (host.leaving or member.blind):
            conclusion = member.detector.handed_over(host.awake)
            self.do([conclusion] if conclusion else [])

    def _superseded(self, epoch: int) -> None:
        if not self.tenure.rolling:  # then that epoch may be this main's own
            self.tenure.end(f"a member knows epoch {epoch}, and the folder, which has its claim, hangs here")

    def tick(self, *, others_connected: bool, blind: bool, damage: str = "", twin: str = "") -> None:
        """Advance the clock. ``blind``: the folder does not work here, for any log; ``damage``: what is wrong there.

        ``twin``: as of the member.
        """
        host, member = self._host, self.state.member
        member.full = self.serving is not None and self.serving.full
        member.blind, member.damage = blind, damage
        member.twin = twin
        member.keyless = str(self.state.lacking or "")
        if not host.leaving and not host.displaced:
            effects = member.tick(
                host.awake,
                host.runtime.nonce(),
                others_connected=others_connected,
                paused=host.own_time.lost,
            )
            self.do(effects)
        self._note_conditions()
        if self._conditions != (conditions := (member.role, member.verdict, self.book.open)):
            self._conditions = conditions
            host.wakers[Duty.PRESENCE].set()
            host.wakers[Duty.REPORT].set()

    def _note_conditions(self) -> None:
        self.book.update(self._host.now, self._host.runtime.wall_clock(), self.state.member.conditions())

    # ------------------------------------------------------------------ what the state machine wants done

    def do(self, effects: list[Effect]) -> None:
        """Carry out effects, in order."""
        host, state = self._host, self.state
        for effect in effects:
            match effect:
                case Follow(claim):
                    state.followed_epoch = state.served_epoch = 0
                    _log.info("epoch %d: %s is the main", claim.epoch, claim.member)
                    self._hold_on_to(claim)
                    state.wakers[Duty.LOG].set()
                case Promote(claim):
                    self._ways.let_go()
                    self._ways.stay()
                    self._claim(self.tenure.take_over(claim))
                case StepDown(claim):
                    _log.warning("epoch %d: %s took over; stepping down", claim.epoch, claim.member)
                    self.tenure.end(f"{claim.member} claimed epoch {claim.epoch}")
                    self._hold_on_to(claim)
                    state.wakers[Duty.LOG].set()
                case HandOver(why):
                    host.spawn(self._hand_over(why))
                case StartProbe():
                    host.spawn(self._ways.probe(state, effect))
                case Conclude():
                    self._claim(self.challenge(effect))
                case _:
                    assert_never(effect)
        if effects:
            host.wakers[Duty.PRESENCE].set()

    def _hold_on_to(self, claim: Claim) -> None:
        """Notice at once when the main's process dies."""
        detector, host, forwarder = self.state.member.detector, self._host, self.state.forwarder
        host.keep(self._ways.hold(claim, lambda: detector.closed(host.awake, claim.epoch)))
        if forwarder is not None:
            host.keep(self._ways.forward(forwarder, claim))

    def _claim(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._host.keep(task)
        self._claiming.add(task)
        task.add_done_callback(self._claiming.discard)

    async def challenge(self, conclusion: Conclude) -> None:
        """Ask for the takeover that the detector concluded; the claims in the folder are the answer."""
        host, state, claim = self._host, self.state, self.state.member.claim
        if claim is None or claim.epoch != conclusion.epoch:
            return
        _log.warning("%s: %s", conclusion.verdict, conclusion.evidence.words)
        state.concluded = conclusion.epoch, host.now
        challenge = Challenge(
            member=host.settings.member,
            incarnation=host.incarnation,
            folder_id=host.folder_id,
            expected=Expected(claim.epoch, claim.member),
            verdict=conclusion.verdict.value,
            evidence=msgspec.Raw(msgspec.json.encode(conclusion.evidence)),
        )
        try:
            if state.lacking is not None:
                raise state.lacking.with_traceback(None)
            if state.member.unserved:
                await self._rehearse(claim)
            try:
                accepted = await self._ways.challenge(challenge)
            except NoSpace:
                await self.tenure.make_room(conclusion.epoch + 1)
                accepted = await self._ways.challenge(challenge)
            if accepted:
                await self.look()
            state.member.unasked = None
        except FolderError as error:
            state.member.unasked = error
            _log.warning("the takeover could not be asked for: %s", error)
        if state.member.epoch == conclusion.epoch:
            state.member.detector.fruitless(host.awake)

    async def _rehearse(self, claim: Claim) -> None:
        """Make sure that what stopped the last takeover does not stop the next one, too. Raises FolderError.

        A claim is for ever, and one that cannot serve helps nobody.
        """
        member = self.state.member
        try:
            await self.tenure.rehearse(claim)
        except FolderError as error:
            member.obstacle = error
            raise
        member.obstacle = None

    async def switch_over(self, to: str) -> int:
        """Hand over to the member ``to`` and stay as a backup; return the epoch that ended. Raises NotSwitched."""
        service = self.serving
        if service is None:
            raise NotMain
        if self.tenure.rolling:
            raise TryAgain("a compaction begins a new epoch of this main just now")
        successor = succession.choose(self._host, self.state.id, to, service.manifest.cuts + service.cuts)
        if not await self._hand_over(f"{to} was named as its successor", successor):
            raise TryAgain(f"epoch {service.epoch} ends already, but not by this request")
        return service.epoch

    async def _hand_over(self, why: str, successor: str = "") -> bool:
        done = await self.tenure.hand_over(why, successor)
        if done:
            self._ways.tell((self._news(MainState.HANDED_OVER),))
        return done

    async def leave(self) -> bool:
        """Hand over if this worker is the main; False if it is not.

        A claimed epoch is served first: else the others would notice only by silence that nobody serves it.
        """
        while self._claiming:
            await asyncio.wait(self._claiming)
        if self.serving is None:
            return False
        await self._hand_over("the worker is being stopped")
        return True

    # ------------------------------------------------------------------ what is told and shown of it

    def news(self, unread_for: float) -> LogNews | None:
        """Return the news of a main or main-elect. ``unread_for``: age of the mail, seconds."""
        service = self.serving
        if service is not None:
            return self._news(
                MainState.SERVING,
                committed=service.applied,
                stalled_for=max(service.stalled_for, unread_for),
                hung_for=self._host.hung_for,
                full=service.full,
            )
        if self.state.member.role is Role.ELECT:
            return self._news(MainState.ELECT, progress=self.tenure.progress)
        return None

    def _news(self, state: MainState, **more: Any) -> LogNews:
        sequence = self.state.standing.sequence
        paused = round(self._host.own_time.longest_pause, 3)
        epoch = self.state.member.epoch
        return LogNews(log=self.state.id, epoch=epoch, state=state, sequence=sequence, paused=paused, **more)

    def shown(self) -> LogPresence:
        """Return this log's part of the presence block."""
        host, member, service, standing = self._host, self.state.member, self.serving, self.state.standing
        links: tuple[Link, ...] = ()
        if member.role is Role.BACKUP and member.claim is not None:
            way = _LINK_STATES.get(member.detector.verdict, LinkState.UNKNOWN)
            since = round(host.awake - member.detector.verdict_since, 3)
            links = (Link(member.claim.member, host.settings.member, way, since),)
        return LogPresence(
            log=self.state.id,
            role=member.role,
            epoch=member.epoch,
            verdict=member.verdict,
            applied=str(standing.applied if service is None else service.applied),
            lag_bytes=0 if service else standing.lag_bytes,
            keys=standing.keys,
            links=links,
            witness=self.state.witness(),
        )


async def _look(folder: Folder, at_least: int) -> Sighting | None:
    """Return the highest claim that can be seen, from one known to exist; None if there is none."""
    claim = await claims.highest_claim(folder, at_least)
    if claim is None:
        return None
    unserved = await arbitration.unserved(folder, claim.epoch, MOST_UNSERVED)
    return Sighting(claim, unserved, None if unserved else await arbitration.own_seal(folder, claim))
