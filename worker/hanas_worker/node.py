"""One worker: a process that drives its logs, and its way from the arrival to an orderly end.

The logs are driven by `hanas_worker.log.driver`. The duties of the process, each on its interval or when it is woken:

    mail      probes, answers, everybody's presence, fitness   hanas_worker.neighbours.mail, .fitness
    custody   whether held files are under their names         hanas_worker.neighbours.custody
    presence  the own block in the folder                      hanas_worker.neighbours.presence
    report    the report to the overseers                      hanas_worker.neighbours.presence

Beside them the clock ticks for every log, and keep-alives are sent for each log whose main this worker is.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from hanas_core.epochs.arbitration import Arrival, Challenge, Place
from hanas_core.log.claimfile import Claim
from hanas_core.members.registry import NoSlot
from hanas_core.volume.errors import FolderError
from hanas_core.volume.folder import Folder
from hanas_serving.lines import Receiver
from hanas_serving.problems import Problem
from hanas_serving.runtime import Outbound, Runtime
from hanas_serving.settings import Backups
from hanas_worker.host.duties import Duty
from hanas_worker.host.host import Host
from hanas_worker.host.settings import WorkerSettings
from hanas_worker.log.driver import LogDriver
from hanas_worker.log.forwarder import Forwarder
from hanas_worker.log.news import LogNews
from hanas_worker.log.state import LogState
from hanas_worker.log.ways import Ways
from hanas_worker.neighbours.authenticity import Verifier
from hanas_worker.neighbours.custody import Custodian
from hanas_worker.neighbours.fitness import Fitness
from hanas_worker.neighbours.forwarding import ForwardingLine
from hanas_worker.neighbours.keepalives import Epochs, KeepAlive, Sender
from hanas_worker.neighbours.lifeline import Lifeline
from hanas_worker.neighbours.mail import Mail
from hanas_worker.neighbours.overseers import Overseers, Rejected
from hanas_worker.neighbours.place import Places
from hanas_worker.neighbours.presence import OwnPresence

_log = logging.getLogger("hanas.worker")

_HAND_OVER_WAIT = 3.0
"""How long a worker that leaves waits for its successor, to redirect its clients meanwhile. Seconds."""
_FRESH = 2.0
"""How long an exchange may take, and how old an echo may be, in multiples of `suspect_after`."""


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
        """Prepare for `run`."""
        self.host = Host(settings, folder, folder_id, runtime)
        self.host.know(overseers.lane, Duty.ARBITRATION)
        self.overseers = overseers
        states = [LogState(self.host)]
        self._mail = Mail(self.host, states)
        timeout = settings.timing.suspect_after
        self._sender = Sender(outbound, _FRESH * timeout, settings.timing.keepalive_interval, self._answered)
        self._lifeline = Lifeline(outbound, settings.member, timeout)
        self.verifier = Verifier(self.host.link_key, _FRESH * timeout, lambda: self.host.awake)
        """Judges what comes over the link."""
        self._forwarding = ForwardingLine(outbound, settings.member, runtime.nonce, timeout)
        if settings.backups is Backups.SERVE:
            for state in states:
                state.forwarder = Forwarder(state, settings.patience_seconds)
        ways = Ways(
            self._tell,
            self._mail.probe,
            self._challenge,
            self._hold,
            self._lifeline.let_go,
            self._forward,
            self._forwarding.let_go,
        )
        self.logs = [LogDriver(state, ways) for state in states]
        """By their ids."""
        self._fitness = Fitness(self.host, self._mail)
        self.places = Places(self.host)
        self._arrival = Arrival(
            settings.member, self.host.incarnation, folder_id, settings.advertise_url, settings.link_url
        )
        self.presence = OwnPresence(self.host, self.logs, self._fitness, overseers)
        self._custodian = Custodian(self.host, states, self._reopen)

    # ------------------------------------------------------------------ what the API asks

    @property
    def folder_works(self) -> bool:
        """Return whether nothing that is done in the folder fails or hangs just now."""
        return not (self.host.folder_trouble or self.host.hung_duties or self._blind)

    @property
    def folder_full(self) -> bool:
        """Return whether the volume has no room for a log whose main this worker is."""
        return any(driver.serving is not None and driver.serving.full for driver in self.logs)

    # ------------------------------------------------------------------ life

    async def run(self, stopping: asyncio.Event) -> None:
        """Join, then live until ``stopping``; leave in order. Raises Rejected, Twin."""
        if not await self._arrive(stopping):
            return
        host, timing = self.host, self.host.timing
        lives = [
            *(duty for driver in self.logs for duty in driver.duties()),
            host.repeat(Duty.MAIL, timing.mailbox_interval, self._exchange, host.wakers[Duty.MAIL]),
            host.repeat(Duty.CUSTODY, timing.watch_interval, self._custodian.check, host.wakers[Duty.CUSTODY]),
            host.repeat(Duty.PRESENCE, timing.presence_interval, self._show, host.wakers[Duty.PRESENCE]),
            host.repeat(Duty.REPORT, timing.isolation_after / 2, self.presence.report, host.wakers[Duty.REPORT]),
            self._tick_for_ever(),
            self._send_for_ever(),
            stopping.wait(),
        ]
        tasks = [asyncio.create_task(life) for life in lives]
        host.spawn(self._fitness.ask())
        awaited: list[asyncio.Future[Any]] = [*tasks, host.mistake]
        done, _ = await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        await self.leave(self.host.settings.drain_seconds if stopping.is_set() else 0.0)
        for task in tasks:
            task.cancel()
        host.cancel_background()
        self._sender.close()
        for ended in done:
            ended.result()

    async def _arrive(self, stopping: asyncio.Event) -> bool:
        """Find this worker's place; False if it is stopped before."""
        host, settings = self.host, self.host.settings
        place = None
        while place is None:
            try:
                place = await self._take_place()
            except FolderError as error:
                host.trouble(Duty.ARRIVE, error)
                if stopping.is_set():
                    return False
                await asyncio.sleep(host.timing.watch_interval)
        host.recovered(Duty.ARRIVE)
        host.slot = place.slot
        _log.info(
            "joined as %s (incarnation %s, slot %d); the main of epoch %d is %s%s",
            settings.member,
            host.incarnation,
            place.slot,
            place.epoch,
            place.main.member,
            "" if self.overseers.reachable else "; no overseer could be reached, the folder decided",
        )
        return True

    async def _take_place(self) -> Place:
        """Arrive. A role comes last: who cannot show itself, and so cannot answer probes, must not become the main."""
        host = self.host
        slot = await self._find_slot()
        while True:
            host.slot = slot
            await self.presence.show()
            await self._mail.try_canary()
            place = await self.overseers.arrive(host.folder, self._arrival)
            if place.slot == slot:
                return place
            slot = place.slot

    async def _find_slot(self) -> int:
        try:
            return await self.places.register(self._arrival)
        except NoSlot:  # an overseer may have watched the others for long enough
            return (await self.overseers.arrive(self.host.folder, self._arrival)).slot

    async def _show(self) -> None:
        """Show this worker in its slot, in a new one if another member has it."""
        host = self.host
        if host.place_in_doubt:
            before, host.slot = host.slot, await self._find_slot()
            if host.slot != before:
                _log.warning("slot %d was given to another member; this worker has slot %d now", before, host.slot)
        await self.presence.show()

    async def leave(self, drain_seconds: float = 0.0) -> None:
        """Leave in order, unless the folder takes too long for that: then as if killed, which loses nothing either.

        ``drain_seconds``: how long to redirect beside that, if there is anybody to redirect to.
        """
        self.host.leaving = True
        most = max(self.host.timing.folder_timeout, _HAND_OVER_WAIT)
        until = self.host.now + most
        try:
            async with asyncio.timeout_at(until) as limit:
                await self._hand_over()
                if drain_seconds and self.host.others():
                    limit.reschedule(until + drain_seconds)
                    await asyncio.sleep(drain_seconds)
                await self._show_that_it_left()
        except TimeoutError:
            _log.warning("the folder did not let this worker leave in order within %g s", most)

    async def _hand_over(self) -> None:
        """Hand over the logs whose main this worker is, and redirect until the successors serve."""
        departures = [driver for driver in self.logs if await driver.leave()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HAND_OVER_WAIT):
                while any(driver.main_url is None for driver in departures) and self.host.others():
                    self._mail.read.clear()
                    await self._mail.read.wait()

    async def _show_that_it_left(self) -> None:
        self.presence.left = True
        if not self.places.yields:
            with contextlib.suppress(FolderError):
                await self.presence.show()

    # ------------------------------------------------------------------ the clock, the link and the mail

    async def _tick_for_ever(self) -> None:
        host = self.host
        while True:
            connected = any(not other.isolated for other in host.others())
            host.turn()
            for driver in self.logs:
                driver.tick(
                    others_connected=connected,
                    blind=self._blind,
                    damage=self._custodian.damage,
                    twin=self.places.twin,
                )
            await asyncio.sleep(host.timing.keepalive_interval / 2)

    @property
    def _blind(self) -> bool:
        """Return whether the folder is damaged, or its mailboxes were not read or written for longer than allowed."""
        timing = self.host.timing
        return (
            bool(self._custodian.damage)
            or self._mail.unread_for > timing.probe_timeout + timing.folder_grace
            # before an overseer misses it:
            or self.presence.unshown_for > 2 * timing.presence_interval + timing.probe_timeout
        )

    async def _send_for_ever(self) -> None:
        while True:
            age = self._mail.unread_for
            if news := tuple(filter(None, (driver.news(age) for driver in self.logs))):
                self._tell(news)
            await asyncio.sleep(self.host.timing.keepalive_interval)

    def _tell(self, news: tuple[LogNews, ...]) -> None:
        host = self.host
        keepalive = KeepAlive(host.settings.member, host.incarnation, host.folder_id, news)
        self._sender.send(keepalive, host.link_peers())

    def _answered(self, keepalive: KeepAlive, epochs: Epochs) -> None:
        for news, epoch in zip(keepalive.logs, epochs, strict=False):
            self.logs[news.log].hearing.answered(epoch)

    def hear(self, keepalive: KeepAlive, fresh: bool) -> Epochs:
        """Take in what a member sent, ``fresh`` if it was made just now.

        Return the highest epochs of its logs that are known here, 0 for a log that is not.
        """
        drivers = {driver.state.id: driver for driver in self.logs}
        return tuple(
            drivers[news.log].hearing.hear(keepalive.incarnation, news, fresh=fresh) if news.log in drivers else 0
            for news in keepalive.logs
        )

    def _hold(self, claim: Claim, on_closed: Callable[[], None]) -> asyncio.Task[None]:
        peers = self.host.peers
        return self._lifeline.hold(claim.link_url, lambda: peers.link_key(claim.member, claim.incarnation), on_closed)

    def _forward(self, forwarder: Forwarder, claim: Claim) -> asyncio.Task[None]:
        peers = self.host.peers
        return self._forwarding.keep(
            claim.link_url, lambda: peers.link_key(claim.member, claim.incarnation), forwarder, forwarder.decline
        )

    def visit(self, member: str) -> Receiver | None:
        """Return who gets what ``member`` brings over a line; None if this worker is not the main.

        Raises Problem: 503 while a member lives that could not read the log with what such a line leaves there.
        """
        desk = self.logs[0].state.desk
        if desk is None:
            return None
        if former := [other.member for other in self.host.others() if not other.sessions]:
            raise Problem(503, f"{former[0]} runs a version that does not know forwarding")
        return desk.visit(member)

    async def _challenge(self, challenge: Challenge) -> bool:
        settings = self.host.settings
        try:
            await self.overseers.challenge(self.host.folder, challenge, (settings.advertise_url, settings.link_url))
        except Rejected as refusal:
            _log.warning("the takeover could not be asked for: %s", refusal)
            return False
        return True

    def _reopen(self) -> None:
        self._mail.reopen()
        self.presence.reopen()

    async def _exchange(self) -> None:
        await self._mail.exchange()
        self.places.notice(self.host.peers.own_block)
        self._fitness.answer()
