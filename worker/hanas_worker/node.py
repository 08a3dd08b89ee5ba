"""One worker: the state machine of `hanas_core.member`, fed by the link, the folder and the clock.

All state belongs to the event loop. Each duty that touches the folder has a lane of its own (hanas_serving.lanes), so
that a hung mount freezes none of the others.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from hanas_core import mailboxes, names, seals, segments, takeover
from hanas_core.alerts import AlertBook
from hanas_core.arbitration import Arrival, Challenge, Expected, Place
from hanas_core.batches import Batch
from hanas_core.claims import Claim
from hanas_core.detector import Conclude, StartProbe
from hanas_core.documents import Link, Presence
from hanas_core.errors import FolderError, NoSpace, Sealed
from hanas_core.folder import Folder
from hanas_core.mailboxes import Answer, Answers, Box, Probe, Registry
from hanas_core.member import Effect, Follow, HandOver, Member, Promote, Role, StepDown
from hanas_core.positions import Position
from hanas_core.replica import Replica
from hanas_core.seals import Seal, SealWatch
from hanas_core.verdicts import Verdict
from hanas_core.writes import Result
from hanas_serving.lanes import Lane
from hanas_worker import duties
from hanas_worker.keepalives import KeepAlive, Sender
from hanas_worker.overseers import Overseers, Rejected, wall_clock
from hanas_worker.peers import Peers
from hanas_worker.service import EpochEnded, Service
from hanas_worker.settings import WorkerSettings

log = logging.getLogger("hanas.worker")

_REPLAY_TIMEOUT = 3600.0
"""A replay may last as long as it makes progress, which the others judge by its keep-alives. Seconds."""
_HAND_OVER_WAIT = 3.0
"""How long a worker that leaves waits for its successor, to redirect its clients meanwhile. Seconds."""
_PEER_SILENCE = 3.0
"""A member silent for this many presence intervals counts as gone."""


class Node:
    """A worker that has its place in an initialised folder."""

    def __init__(self, settings: WorkerSettings, folder: Folder, folder_id: str, overseers: Overseers) -> None:
        """Know nothing yet; `run` does the rest."""
        self.settings = settings
        self.folder_id = folder_id
        self.member = Member(settings.member, names.nonce(), settings.timing, settings.policy)
        self.replica = Replica(folder)
        self.peers = Peers(settings.member)
        self.book = AlertBook(settings.member)
        self.service: Service | None = None
        self.slot = -1
        self.followed_epoch = 0
        """The epoch whose manifest this replica follows."""
        self.batches_committed = 0
        self.folder_trouble: str | None = None
        """The last error of the folder, until it works again."""
        self._loop = asyncio.get_running_loop()
        self._folder = folder
        self._overseers = overseers
        self._timing = settings.timing
        self._mailboxes, self._probe_boxes, self._own_boxes = (mailboxes.Mailboxes(folder) for _ in range(3))
        self._registry = Registry(folder)
        self._lanes = {name: Lane(name) for name in ("watch", "mail", "probe", "presence", "log", "prepare", "seal")}
        self._replica_lock = asyncio.Lock()
        self._wake = {name: asyncio.Event() for name in ("watch", "presence", "log", "prepare")}
        self._sender = Sender(settings.member, settings.secrets, settings.timing.suspect_after)
        self._answers: dict[int, Answer] = {}
        self._known: Position | None = None
        self._progress = ""
        self._spare: asyncio.Future[str] = self._loop.create_future()
        self._spare_wanted_by: Service | None = None
        self._counter = 0
        self._planned = False
        self._background: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------ what the API asks

    @property
    def now(self) -> float:
        """Monotonic seconds."""
        return self._loop.time()

    @property
    def ready(self) -> bool:
        """This worker serves, or redirects to a main that serves."""
        return self.serving is not None or self.main_url is not None

    @property
    def serving(self) -> Service | None:
        """The service, if this worker is the main and its epoch has not ended."""
        return None if self.service is None or self.service.ended else self.service

    @property
    def main_url(self) -> str | None:
        """Where clients are redirected to; None while there is no main that serves, or it is this worker."""
        detector, claim = self.member.detector, self.member.claim
        gone = {Verdict.PRIMARY_FAILED, Verdict.PRIMARY_WEDGED, Verdict.HANDED_OVER}
        if claim is None or self.member.role is not Role.BACKUP or detector.verdict in gone:
            return None
        if claim.incarnation == self.member.incarnation or self.followed_epoch != claim.epoch:
            return None
        return claim.advertise_url

    @property
    def overseer_reachable(self) -> bool:
        """The last call reached an overseer."""
        return self._overseers.reachable

    @property
    def hung_lanes(self) -> list[str]:
        """The duties whose last call on the folder has not returned in time."""
        return [name for name, lane in self._lanes.items() if lane.hung]

    # ------------------------------------------------------------------ life

    async def run(self, stopping: asyncio.Event) -> None:
        """Join, then live until ``stopping``; leave in order. Raises Rejected if the overseer refuses this worker."""
        await self._arrive()
        interval = self._timing
        loops = [
            self._repeat("watch", interval.watch_interval, self._look),
            self._repeat("mail", interval.mailbox_interval, self._exchange_mail),
            self._repeat("presence", interval.presence_interval, self._show),
            self._repeat("log", interval.tail_interval, self._tail),
            self._repeat("prepare", interval.presence_interval, self._prepare),
            self._repeat("ping", interval.isolation_after / 2, self._ping),
            self._tick_for_ever(),
            self._send_for_ever(),
        ]
        tasks = [asyncio.create_task(loop) for loop in loops]
        waiting = asyncio.create_task(stopping.wait())
        done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
        await self._leave()
        for task in (waiting, *tasks, *self._background):
            task.cancel()
        await self._sender.close()
        for task in done:
            task.result()

    async def _arrive(self) -> None:
        arrival = Arrival(
            self.settings.member,
            self.member.incarnation,
            self.folder_id,
            self.settings.advertise_url,
            self.settings.link_url,
        )
        while (place := await self._try_to_arrive(arrival)) is None:
            await asyncio.sleep(self._timing.watch_interval)
        self.slot = place.slot
        log.info(
            "joined as %s (incarnation %s, slot %d); the main of epoch %d is %s%s",
            self.settings.member,
            self.member.incarnation,
            place.slot,
            place.epoch,
            place.main.member,
            "" if self._overseers.reachable else "; no overseer could be reached, the folder decided",
        )

    async def _try_to_arrive(self, arrival: Arrival) -> Place | None:
        try:
            return await self._overseers.arrive(self._folder, arrival)
        except FolderError as error:
            self._note_trouble("arrive", error)
            return None

    async def _leave(self) -> None:
        """Hand over if this is the main, and redirect until the successor serves."""
        if self.serving is None:
            return
        others = self.peers.alive(self.now, _PEER_SILENCE * self._timing.presence_interval)
        await self._hand_over("the worker is being stopped")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HAND_OVER_WAIT if others else 0):
                while self.main_url is None:
                    await asyncio.sleep(self._timing.keepalive_interval)

    async def _repeat(self, name: str, interval: float, duty: Callable[[], Awaitable[None]]) -> None:
        wake = self._wake.setdefault(name, asyncio.Event())
        while True:
            wake.clear()
            try:
                await duty()
            except FolderError as error:
                self._note_trouble(name, error)
            else:
                self._note_recovery(name)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await wake.wait()

    def _note_trouble(self, duty: str, error: FolderError) -> None:
        text = f"{duty}: {error}"
        if self.folder_trouble != text:
            log.warning("the folder gives trouble: %s", text)
        self.folder_trouble = text

    def _note_recovery(self, duty: str) -> None:
        if self.folder_trouble is not None and self.folder_trouble.startswith(f"{duty}:"):
            log.info("the folder works again (%s)", duty)
            self.folder_trouble = None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _in_lane(self, lane: str, procedure: Coroutine[Any, Any, Any]) -> Any:
        return await self._lanes[lane].run(procedure, self._timing.folder_timeout)

    # ------------------------------------------------------------------ the clock and the claims

    async def _tick_for_ever(self) -> None:
        while True:
            others = self.peers.alive(self.now, _PEER_SILENCE * self._timing.presence_interval)
            connected = any(not other.isolated for other in others)
            self._do(self.member.tick(self.now, names.nonce(), others_connected=connected))
            shown = (self.member.role, self.member.verdict, self.book.open)
            self.book.update(self.now, wall_clock(), self.member.conditions())
            if shown != (self.member.role, self.member.verdict, self.book.open):
                self._wake["presence"].set()
            await asyncio.sleep(self._timing.keepalive_interval / 2)

    async def _look(self) -> None:
        sighting = await self._in_lane("watch", duties.look(self._folder, self.member.epoch))
        if sighting is None:
            return
        claim = sighting.claim
        self._do(self.member.see(self.now, claim, sighting.unserved))
        if claim.epoch != self.member.epoch or self.member.role is not Role.BACKUP:
            return
        if sighting.unserved == 0:
            self.member.detector.served()
        if sighting.handed_over and claim.incarnation != self.member.incarnation:
            conclusion = self.member.detector.handed_over(self.now)
            self._do([conclusion] if conclusion else [])

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Follow(claim):
                    log.info("epoch %d: %s is the main", claim.epoch, claim.member)
                    self._wake["log"].set()
                case Promote(claim):
                    self._spawn(self._promote(claim))
                case StepDown(claim):
                    log.warning("epoch %d: %s took over; stepping down", claim.epoch, claim.member)
                    if self.service is not None:
                        self.service.end(f"{claim.member} claimed epoch {claim.epoch}")
                    self._wake["log"].set()
                case HandOver(why):
                    self._spawn(self._hand_over(why))
                case StartProbe():
                    self._spawn(self._probe(effect))
                case Conclude():
                    self._spawn(self._challenge(effect))
        if effects:
            self._wake["presence"].set()

    # ------------------------------------------------------------------ suspicion

    async def _probe(self, start: StartProbe) -> None:
        probe = Probe(self.settings.member, self.member.incarnation, start.nonce, start.epoch)
        try:
            kept = await self._in_lane("probe", duties.send_probe(self._probe_boxes, self.slot, probe))
        except FolderError as error:
            self._note_trouble("probe", error)
            kept = False
        else:
            self._note_recovery("probe")
        self.member.detector.canary(self.now, start.nonce, ok=kept)

    async def _challenge(self, conclusion: Conclude) -> None:
        claim = self.member.claim
        if claim is None or claim.epoch != conclusion.epoch:
            return
        log.warning("%s: %s", conclusion.verdict, conclusion.evidence.words)
        challenge = Challenge(
            member=self.settings.member,
            incarnation=self.member.incarnation,
            folder_id=self.folder_id,
            expected=Expected(claim.epoch, claim.member),
            verdict=conclusion.verdict.value,
            evidence=msgspec.Raw(msgspec.json.encode(conclusion.evidence)),
        )
        try:
            addresses = (self.settings.advertise_url, self.settings.link_url)
            await self._overseers.challenge(self._folder, challenge, addresses)
            await self._look()
        except (Rejected, FolderError) as error:
            log.warning("the takeover could not be asked for: %s", error)
        if self.member.epoch == conclusion.epoch:
            self.member.detector.restart(self.now)

    async def _exchange_mail(self) -> None:
        service, probing = self.serving, self.member.detector.probe
        since = self.now
        mail: duties.Mail = await self._in_lane(
            "mail",
            duties.read_mail(
                self._mailboxes,
                self._registry,
                probes=service is not None,
                answers=self.member.role is Role.BACKUP and probing is not None,
            ),
        )
        self.peers.update(self.now, mail.registrations, mail.presence)
        for other in self.peers.alive(self.now, _PEER_SILENCE * self._timing.presence_interval):
            if other.role == Role.BACKUP and other.epoch == self.member.epoch:
                self.member.returned(other.member)
        if service is not None:
            await self._answer_probes(service, mail.probes)
        elif mail.answers:
            self._look_for_answer(mail.answers, since)

    def _look_for_answer(self, answers: list[Answers | None], since: float) -> None:
        slot = None if self.member.claim is None else self.peers.slot_of(self.member.claim.member)
        written = None if slot is None else answers[slot]
        answer = None if written is None else written.answers.get(self.slot)
        told = None
        if written is not None and answer is not None:
            told = (answer.nonce, written.epoch, written.incarnation, answer.full)
        self.member.detector.looked(self.now, since, told)

    async def _answer_probes(self, service: Service, probes: list[Probe | None]) -> None:
        """Answer each new probe of this epoch, after one no-op went through the real commit path."""
        asked = {
            slot: probe.nonce
            for slot, probe in enumerate(probes)
            if probe is not None
            and probe.epoch == service.epoch
            and (slot not in self._answers or self._answers[slot].nonce != probe.nonce)
        }
        if not asked:
            return
        outcome = await service.write(None)
        full = service.full or outcome.result is Result.NO_SPACE
        if outcome.result is Result.NO_SPACE:
            try:
                await service.fence()
            except EpochEnded:
                return
        elif outcome.result is not Result.COMMITTED:
            return
        self._answers.update({slot: Answer(nonce, full) for slot, nonce in asked.items()})
        answers = Answers(service.epoch, self.member.incarnation, self._answers)
        await self._in_lane("mail", self._mailboxes.write(Box.ANSWERS, self.slot, answers))

    # ------------------------------------------------------------------ the link

    def hear(self, keepalive: KeepAlive) -> int:
        """Take in a keep-alive; return the highest epoch that is known here."""
        if keepalive.epoch > self.member.epoch or keepalive.state == "handed-over":
            self._wake["watch"].set()
        elif keepalive.epoch == self.member.epoch and self.member.role is Role.BACKUP:
            self.member.detector.heard(
                self.now,
                keepalive.epoch,
                keepalive.incarnation,
                stalled_for=keepalive.stalled_for,
                full=keepalive.full,
                progress=keepalive.progress,
            )
            if keepalive.committed is not None and keepalive.committed != self._known:
                self._known = keepalive.committed
                self._wake["log"].set()
        return self.member.epoch

    async def _send_for_ever(self) -> None:
        while True:
            if self.member.role in {Role.ELECT, Role.MAIN}:
                self._send_keepalives("elect" if self.serving is None else "serving")
            await asyncio.sleep(self._timing.keepalive_interval)

    def _send_keepalives(self, state: str) -> None:
        service = self.serving
        keepalive = KeepAlive(
            member=self.settings.member,
            epoch=self.member.epoch,
            incarnation=self.member.incarnation,
            folder_id=self.folder_id,
            state=state,
            sequence=self.replica.index.sequence,
            committed=None if service is None else service.applied,
            stalled_for=0.0 if service is None else service.stalled_for,
            full=service is not None and service.full,
            progress=f"{self._progress} {self.replica.tailer.applied}" if state == "elect" else None,
        )
        self._sender.send(keepalive, self.peers.link_urls(self.now), self._delivered)

    def _delivered(self, peer: str, epoch: int | None) -> None:
        del peer
        if epoch is not None:
            self.member.reached(self.now)
            if epoch > self.member.epoch:
                self._wake["watch"].set()

    async def _ping(self) -> None:
        if await self._overseers.ping():
            self.member.reached(self.now)

    # ------------------------------------------------------------------ backup

    async def _tail(self) -> None:
        async with self._replica_lock:
            claim = self.member.claim
            if claim is None or self.member.role is not Role.BACKUP:
                return
            if self.followed_epoch != claim.epoch:
                if not await self._in_lane("log", self.replica.follow(claim.epoch)):
                    return
                self.followed_epoch = claim.epoch
                self.member.detector.served()
            while self.member.role is Role.BACKUP:
                batches: list[Batch] = await self._in_lane("log", self._read_on(self._known))
                for batch in batches:
                    self.replica.index.apply(batch)
                if self.replica.tailer.at_end:
                    return

    async def _read_on(self, known: Position | None) -> list[Batch]:
        if known is not None:
            self.replica.tailer.know(known)
        return await self.replica.tailer.step()

    # ------------------------------------------------------------------ elect and main

    async def _promote(self, claim: Claim) -> None:
        started = self.now
        log.info("epoch %d is ours: taking over", claim.epoch)
        self._progress = "preparing"
        try:
            spare = await self._spare
            self._spare = self._loop.create_future()
            async with self._replica_lock:
                promotion, watch = await self._lanes["log"].run(self._take_over(claim, spare), _REPLAY_TIMEOUT)
        except (FolderError, Sealed) as error:
            log.error("the takeover of epoch %d failed: %s", claim.epoch, str(error) or "a higher epoch sealed it")
            self.member.ended(self.now, claim.epoch, 1)
            await self._seal_own(claim.epoch, planned=False)
            return
        if not self.member.promoted(self.now, claim.epoch):
            await self._seal_own(claim.epoch, planned=False)
            return
        self._answers, self.followed_epoch = {}, 0
        self.service = Service(
            promotion,
            self.replica.index,
            watch,
            epoch=claim.epoch,
            timeout=self._timing.folder_timeout,
            on_end=self._service_ended,
            on_room_needed=self._wake["prepare"].set,
        )
        self._wake["presence"].set()
        self._wake["prepare"].set()
        log.info(
            "serving epoch %d with %d keys, %.3f s after the claim",
            claim.epoch,
            len(self.replica.index),
            self.now - started,
        )

    async def _take_over(self, claim: Claim, spare: str) -> tuple[takeover.Promotion, SealWatch]:
        promotion = await takeover.promote(
            self._folder,
            claim,
            self.replica,
            spare=spare,
            segment_bytes=self.settings.segment_bytes,
            known=self._known,
            clock=self._loop.time,
            progress=self._note_progress,
        )
        return promotion, await SealWatch.on(self._folder, claim.epoch)

    def _note_progress(self, step: str) -> None:
        self._progress = step

    def _service_ended(self, service: Service, why: str) -> None:
        log.warning("epoch %d ended here: %s", service.epoch, why)
        self.service = None
        self.replica.continue_from(service.applied)
        self.member.ended(self.now, service.epoch, 0)
        if not self._planned:
            self._spawn(self._seal_own(service.epoch, planned=False))
        self._wake["watch"].set()
        self._wake["presence"].set()

    async def _seal_own(self, epoch: int, *, planned: bool) -> None:
        seal = Seal(epoch, self.settings.member, self.member.incarnation, planned)
        try:
            await self._in_lane("seal", seals.write_seal(self._folder, epoch, seal))
        except FolderError as error:
            log.warning("the own epoch %d could not be sealed: %s", epoch, error)

    async def _hand_over(self, why: str) -> None:
        service = self.serving
        if service is None or self._planned:
            return
        log.info("handing over epoch %d: %s", service.epoch, why)
        self._planned = True
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timing.folder_timeout):
                    await service.drain()
            if not service.ended:
                service.end(f"handed over: {why}")
                await self._seal_own(service.epoch, planned=True)
                self._send_keepalives("handed-over")
        finally:
            self._planned = False

    async def _prepare(self) -> None:
        """Keep space for one more segment prepared, and give it to the log when it has none."""
        if not self._spare.done():
            try:
                name = await self._in_lane(
                    "prepare",
                    segments.prepare(
                        self._folder, self.settings.member, self.member.incarnation, self.settings.segment_bytes
                    ),
                )
            except NoSpace as error:
                if self.serving is not None and self.serving.log.spare is None:
                    self.serving.space_lacks()
                raise error
            self._spare.set_result(name)
        service = self.serving
        if service is not None and service.log.spare is None:
            service.space_came(self._spare.result())
            self._spare = self._loop.create_future()
            self._wake["prepare"].set()

    # ------------------------------------------------------------------ presence

    async def _show(self) -> None:
        self._counter += 1
        await self._in_lane("presence", self._own_boxes.write(Box.PRESENCE, self.slot, self.presence()))

    def presence(self) -> Presence:
        """Return what this worker shows of itself."""
        member, detector = self.member, self.member.detector
        links: tuple[Link, ...] = ()
        if member.role is Role.BACKUP and member.claim is not None:
            known = {Verdict.HEALTHY: "up", Verdict.FOLDER_FULL: "up", Verdict.LINK_FAILED: "failed"}
            state = known.get(detector.verdict, "unknown")
            links = (
                Link(member.claim.member, self.settings.member, state, round(self.now - detector.verdict_since, 3)),
            )
        applied = self.replica.tailer.applied if self.service is None else self.service.applied
        return Presence(
            member=self.settings.member,
            incarnation=member.incarnation,
            counter=self._counter,
            advertise_url=self.settings.advertise_url,
            link_url=self.settings.link_url,
            role=member.role.value,
            epoch=member.epoch,
            verdict=member.verdict,
            applied=str(applied),
            lag_bytes=0 if self.service else self.replica.tailer.lag_bytes,
            keys=len(self.replica.index),
            isolated=not self._overseers.reachable and member.verdict is not Verdict.HEALTHY,
            links=links,
            alerts=self.book.open,
        )
