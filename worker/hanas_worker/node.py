"""One worker: the state machine of `hanas_core.members.member`, fed by the link, the folder and the clock.

This is the conductor. It runs the duties, each on its interval or when it is woken, and carries out the effects:

    watch     newer claims, the manifest of the followed epoch, planned hand-overs
    mail      probes, answers, everybody's presence            hanas_worker.neighbours.mail
    log       tailing as a backup                              hanas_worker.log.follower
    places    where values have moved                          hanas_worker.log.follower
    prepare   zero-written space for the next segment          hanas_worker.log.tenure
    compact   merging old segments, and a new epoch for that   hanas_worker.log.compactor
    snapshot  the index, for cold starts                       hanas_worker.log.snapshots
    presence  showing oneself
    report    telling the overseers, and seeing whether one can be reached
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, assert_never

import msgspec

from hanas_core.epochs.arbitration import Arrival, Challenge, Expected, Place
from hanas_core.log.claimfile import Claim
from hanas_core.members.alerts import AlertBook
from hanas_core.members.detector import Conclude, StartProbe
from hanas_core.members.documents import LEFT, Link, Presence, Report, fitting
from hanas_core.members.mailboxes import Box, Mailboxes
from hanas_core.members.member import Effect, Follow, HandOver, Promote, Role, StepDown
from hanas_core.members.verdicts import TAKEOVER_VERDICTS, Verdict
from hanas_core.volume.blocks import PAYLOAD_BYTES
from hanas_core.volume.errors import FolderError, NoSpace
from hanas_core.volume.folder import Folder
from hanas_serving.runtime import Outbound, Runtime
from hanas_worker.host import duties
from hanas_worker.host.settings import WorkerSettings
from hanas_worker.host.state import State
from hanas_worker.log.compactor import Compactor
from hanas_worker.log.follower import Follower
from hanas_worker.log.service import Service
from hanas_worker.log.snapshots import Snapshots
from hanas_worker.log.tenure import Tenure
from hanas_worker.log.values import Values
from hanas_worker.neighbours.fitness import Fitness
from hanas_worker.neighbours.keepalives import KeepAlive, Sender
from hanas_worker.neighbours.lifeline import Lifeline
from hanas_worker.neighbours.mail import Mail
from hanas_worker.neighbours.overseers import Overseers, Rejected

log = logging.getLogger("hanas.worker")

_HAND_OVER_WAIT = 3.0
"""How long a worker that leaves waits for its successor, to redirect its clients meanwhile. Seconds."""
_LINK_STATES = {Verdict.HEALTHY: "up", Verdict.FOLDER_FULL: "up", Verdict.LINK_FAILED: "failed"}


class Node:
    """A worker in an initialised folder."""

    def __init__(
        self,
        settings: WorkerSettings,
        folder: Folder,
        folder_id: str,
        overseers: Overseers,
        outbound: Outbound,
        runtime: Runtime,
    ) -> None:
        """Know nothing yet; `run` does the rest."""
        self.state = State(settings, folder, folder_id, runtime)
        self.tenure = Tenure(self.state)
        self.book = AlertBook(settings.member)
        self.overseers = overseers
        self.values = Values(self.state)
        self.snapshots = Snapshots(self.state, self.tenure)
        self.compactor = Compactor(self.state, self.tenure, self._learn_places)
        self._mail = Mail(self.state, lambda: self.serving)
        self._fitness = Fitness(self.state, self._mail, self.state.others)
        self._follower = Follower(self.state)
        self._own_boxes = self.state.lane("presence").owning(lambda: Mailboxes(folder))
        self._sender = Sender(outbound, settings.timing.suspect_after)
        self._lifeline = Lifeline(outbound, settings.timing.suspect_after)
        self._counter = 0
        self._shown_at = self.state.awake
        self._leaving = self._left = False
        self._claiming: set[asyncio.Task[None]] = set()
        """Asking for a takeover, or carrying one out."""

    # ------------------------------------------------------------------ what the API asks

    @property
    def serving(self) -> Service | None:
        """The service while this worker is the main."""
        return self.tenure.serving

    @property
    def main_url(self) -> str | None:
        """Where clients are redirected to; None while there is no main that serves, or it is this worker."""
        state, member = self.state, self.state.member
        if member.claim is None or member.role is not Role.BACKUP or member.detector.verdict in TAKEOVER_VERDICTS:
            return None
        if member.claim.incarnation == member.incarnation or state.served_epoch != member.epoch:
            return None
        if member.claim.advertise_url == state.settings.advertise_url:
            return None  # the main was an earlier run of this worker: clients would be sent round in a circle
        return member.claim.advertise_url

    @property
    def ready(self) -> bool:
        """This worker serves, or redirects to a main that serves."""
        return self.serving is not None or self.main_url is not None

    # ------------------------------------------------------------------ life

    async def run(self, stopping: asyncio.Event) -> None:
        """Join, then live until ``stopping``; leave in order. Raises Rejected if the overseer refuses this worker."""
        if not await self._arrive(stopping):
            return
        timing = self.state.timing
        lives = [
            self._repeat("watch", timing.watch_interval, self._look),
            self._repeat("mail", timing.mailbox_interval, self._exchange),
            self._repeat("presence", timing.presence_interval, self._show),
            self._repeat("log", timing.tail_interval, self._follower.catch_up),
            self._repeat("places", timing.watch_interval, self._learn_places),
            self._repeat("prepare", timing.presence_interval, self.tenure.prepare),
            self._repeat("compact", timing.presence_interval, self.compactor.compact),
            self._repeat("snapshot", timing.presence_interval, self.snapshots.take),
            self._repeat("report", timing.isolation_after / 2, self._report),
            self._tick_for_ever(),
            self._send_for_ever(),
            stopping.wait(),
        ]
        tasks = [asyncio.create_task(life) for life in lives]
        self.state.spawn(self._fitness.ask())
        awaited: list[asyncio.Future[Any]] = [*tasks, self.state.mistake]
        done, _ = await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        await self._leave()
        for task in tasks:
            task.cancel()
        self.state.cancel_background()
        self._sender.close()
        for ended in done:
            ended.result()

    async def _arrive(self, stopping: asyncio.Event) -> bool:
        """Find this worker's place; False if it is stopped before."""
        state, settings = self.state, self.state.settings
        arrival = Arrival(
            settings.member, state.member.incarnation, state.folder_id, settings.advertise_url, settings.link_url
        )
        while (place := await self._try_to_arrive(arrival)) is None:
            if stopping.is_set():
                return False
            await asyncio.sleep(state.timing.watch_interval)
        state.slot = place.slot
        log.info(
            "joined as %s (incarnation %s, slot %d); the main of epoch %d is %s%s",
            settings.member,
            state.member.incarnation,
            place.slot,
            place.epoch,
            place.main.member,
            "" if self.overseers.reachable else "; no overseer could be reached, the folder decided",
        )
        return True

    async def _try_to_arrive(self, arrival: Arrival) -> Place | None:
        try:
            place = await self.overseers.arrive(self.state.folder, arrival)
        except FolderError as error:
            self.state.trouble("arrive", error)
            return None
        self.state.recovered("arrive")
        return place

    async def _leave(self) -> None:
        """Leave in order, unless the folder takes too long for that: then as if killed, which loses nothing either."""
        self._leaving = True
        most = max(self.state.timing.folder_timeout, _HAND_OVER_WAIT)
        try:
            async with asyncio.timeout(most):
                await self._leave_in_order()
        except TimeoutError:
            log.warning("the folder did not let this worker leave in order within %g s", most)

    async def _leave_in_order(self) -> None:
        """Hand over if this is the main, redirect until the successor serves, and show that one left.

        What was claimed is served first: the others would find out only by its silence that nobody does.
        """
        while self._claiming:
            await asyncio.wait(self._claiming)
        if self.serving is not None:
            await self._hand_over("the worker is being stopped")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HAND_OVER_WAIT):
                    while self.main_url is None and self.state.others():
                        self._mail.read.clear()
                        await self._mail.read.wait()
        self._left = True
        with contextlib.suppress(FolderError):
            await self._show()

    async def _repeat(self, duty: str, interval: float, do: Callable[[], Awaitable[None]]) -> None:
        waker = self.state.waker(duty)
        while True:
            waker.clear()
            try:
                await do()
            except FolderError as error:
                self.state.trouble(duty, error)
            else:
                self.state.recovered(duty)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await waker.wait()

    # ------------------------------------------------------------------ the clock and the claims

    async def _tick_for_ever(self) -> None:
        state, member = self.state, self.state.member
        shown = None
        while True:
            connected = any(not other.isolated for other in state.others())
            member.full = self.serving is not None and self.serving.full
            state.live_on()
            member.blind = self._blind
            if not self._leaving:
                self._do(member.tick(state.now, state.runtime.nonce(), others_connected=connected))
            self._note_conditions()
            if shown != (shown := (member.role, member.verdict, self.book.open)):
                state.wake("presence", "report")
            await asyncio.sleep(state.timing.keepalive_interval / 2)

    def _note_conditions(self) -> None:
        state = self.state
        self.book.update(state.now, state.runtime.wall_clock(), state.member.conditions())

    @property
    def _blind(self) -> bool:
        """The mailboxes could not be read, or the own presence not be written, for longer than is allowed."""
        timing = self.state.timing
        unshown_for = self.state.awake - self._shown_at
        return (
            self._mail.unread_for > timing.probe_timeout + timing.folder_grace
            or unshown_for > 2 * timing.presence_interval + timing.probe_timeout  # before an overseer misses it
        )

    async def _look(self) -> None:
        state, member = self.state, self.state.member
        sighting = await state.in_lane("watch", duties.look(state.folder, member.epoch))
        if sighting is None or self.tenure.rolling or sighting.claim.epoch < member.epoch:
            return
        claim = sighting.claim
        self._do(member.see(state.now, claim, sighting.unserved))
        if claim.epoch != member.epoch or member.role is not Role.BACKUP:
            return
        if sighting.unserved == 0:
            member.detector.served()
        if sighting.handed_over and claim.incarnation != member.incarnation and not self._leaving:
            conclusion = member.detector.handed_over(state.now)
            self._do([conclusion] if conclusion else [])

    async def _learn_places(self) -> None:
        if await self._follower.learn_places():
            self.values.close_removed()

    def _do(self, effects: list[Effect]) -> None:
        state = self.state
        for effect in effects:
            match effect:
                case Follow(claim):
                    state.followed_epoch = state.served_epoch = 0
                    log.info("epoch %d: %s is the main", claim.epoch, claim.member)
                    self._hold_on_to(claim)
                    state.wake("log")
                case Promote(claim):
                    self._lifeline.let_go()
                    self._claim(self.tenure.take_over(claim))
                case StepDown(claim):
                    log.warning("epoch %d: %s took over; stepping down", claim.epoch, claim.member)
                    self.tenure.end(f"{claim.member} claimed epoch {claim.epoch}")
                    self._hold_on_to(claim)
                    state.wake("log")
                case HandOver(why):
                    state.spawn(self._hand_over(why))
                case StartProbe():
                    state.spawn(self._mail.probe(effect))
                case Conclude():
                    self._claim(self._challenge(effect))
                case _:
                    assert_never(effect)
        if effects:
            state.wake("presence")

    def _hold_on_to(self, claim: Claim) -> None:
        state = self.state
        self.state.keep(
            self._lifeline.hold(claim.link_url, lambda: state.member.detector.closed(state.now, claim.epoch))
        )

    def _claim(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.state.keep(task)
        self._claiming.add(task)
        task.add_done_callback(self._claiming.discard)

    async def _challenge(self, conclusion: Conclude) -> None:
        """Ask for the takeover that the detector concluded; whatever the answer, the folder tells who is the main."""
        state, claim = self.state, self.state.member.claim
        if claim is None or claim.epoch != conclusion.epoch:
            return
        log.warning("%s: %s", conclusion.verdict, conclusion.evidence.words)
        state.concluded = conclusion.epoch, state.now
        challenge = Challenge(
            member=state.settings.member,
            incarnation=state.member.incarnation,
            folder_id=state.folder_id,
            expected=Expected(claim.epoch, claim.member),
            verdict=conclusion.verdict.value,
            evidence=msgspec.Raw(msgspec.json.encode(conclusion.evidence)),
        )
        try:
            try:
                await self._ask_for(challenge)
            except NoSpace:
                await self.tenure.make_room()
                await self._ask_for(challenge)
            await self._look()
        except (Rejected, FolderError) as error:
            log.warning("the takeover could not be asked for: %s", error)
        if state.member.epoch == conclusion.epoch:
            state.member.detector.restart(state.now)

    async def _ask_for(self, challenge: Challenge) -> None:
        settings = self.state.settings
        await self.overseers.challenge(self.state.folder, challenge, (settings.advertise_url, settings.link_url))

    async def _hand_over(self, why: str) -> None:
        if await self.tenure.hand_over(why):
            self._send_keepalives("handed-over")

    # ------------------------------------------------------------------ the link

    def hear(self, keepalive: KeepAlive) -> int:
        """Take in a keep-alive; return the highest epoch that is known here."""
        state, member = self.state, self.state.member
        if keepalive.epoch > member.epoch or keepalive.state == "handed-over":
            state.wake("watch")
        elif keepalive.epoch == member.epoch and member.role is Role.BACKUP:
            self._note_conditions()  # one that this keep-alive ends counts also if no tick came while it held
            member.detector.heard(
                state.now,
                keepalive.epoch,
                keepalive.incarnation,
                stalled_for=keepalive.stalled_for,
                full=keepalive.full,
                progress=keepalive.progress,
            )
            of_the_main = member.claim is not None and keepalive.incarnation == member.claim.incarnation
            if of_the_main and keepalive.committed is not None and keepalive.committed != state.known:
                state.known = keepalive.committed
                state.wake("log")
        return member.epoch

    async def _send_for_ever(self) -> None:
        while True:
            if self.serving is not None:
                self._send_keepalives("serving")
            elif self.state.member.role is Role.ELECT:
                self._send_keepalives("elect")
            await asyncio.sleep(self.state.timing.keepalive_interval)

    def _send_keepalives(self, phase: str) -> None:
        state, service = self.state, self.serving
        keepalive = KeepAlive(
            member=state.settings.member,
            epoch=state.member.epoch,
            incarnation=state.member.incarnation,
            folder_id=state.folder_id,
            state=phase,
            sequence=state.replica.index.sequence,
            committed=None if service is None else service.applied,
            stalled_for=0.0 if service is None else max(service.stalled_for, self._mail.unread_for),
            full=service is not None and service.full,
            progress=self.tenure.progress if phase == "elect" else None,
        )
        self._sender.send(keepalive, state.peers.link_urls(state.now), self._delivered)

    def _delivered(self, peer: str, epoch: int | None) -> None:
        del peer
        if epoch is not None:
            self.state.member.reached(self.state.now)
            if epoch > self.state.member.epoch:
                self.state.wake("watch")

    async def _exchange(self) -> None:
        await self._mail.exchange()
        self._fitness.answer()

    async def _report(self) -> None:
        """Tell the overseers how this worker is: over the network, since its folder may be what does not work."""
        state = self.state
        report = Report(
            member=state.settings.member,
            incarnation=state.member.incarnation,
            folder_id=state.folder_id,
            verdict=state.member.verdict,
            alerts=self.book.open,
        )
        if await self.overseers.report(report):
            state.member.reached(state.now)

    # ------------------------------------------------------------------ presence

    async def _show(self) -> None:
        self._counter += 1
        shown = fitting(self.presence(), PAYLOAD_BYTES)
        await self._own_boxes.run(
            lambda boxes: boxes.write(Box.PRESENCE, self.state.slot, shown), self.state.timing.folder_timeout
        )
        self._shown_at = self.state.awake
        self.state.recovered("probe")  # that is only tried when the main is silent; this was a write of the same kind

    def presence(self) -> Presence:
        """Return what this worker shows of itself."""
        state, member, service = self.state, self.state.member, self.serving
        links: tuple[Link, ...] = ()
        if member.role is Role.BACKUP and member.claim is not None:
            way = _LINK_STATES.get(member.detector.verdict, "unknown")
            since = round(state.now - member.detector.verdict_since, 3)
            links = (Link(member.claim.member, state.settings.member, way, since),)
        return Presence(
            member=state.settings.member,
            incarnation=member.incarnation,
            counter=self._counter,
            advertise_url=state.settings.advertise_url,
            link_url=state.settings.link_url,
            role=LEFT if self._left else member.role.value,
            epoch=member.epoch,
            verdict=member.verdict,
            applied=str(state.replica.tailer.applied if service is None else service.applied),
            lag_bytes=0 if service else state.replica.tailer.lag_bytes,
            keys=len(state.replica.index),
            isolated=not self.overseers.reachable and member.verdict is not Verdict.HEALTHY,
            links=links,
            alerts=self.book.open,
            inquiry=self._fitness.inquiry,
            echoes=self._fitness.echoes,
        )
