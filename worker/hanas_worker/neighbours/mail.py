"""The mailboxes: answers to probes as a main, probes as a backup, and the presence of the others."""

import asyncio
import math
from collections.abc import Sequence

from hanas_core.members.detector import StartProbe
from hanas_core.members.documents import Presence
from hanas_core.members.mailboxes import (
    MOST_ANSWERS,
    Answers,
    Box,
    LogAnswers,
    LogProbe,
    Mailboxes,
    Probe,
    ProbeAnswer,
)
from hanas_core.members.registry import Registration, Registry
from hanas_core.members.roles import Role
from hanas_core.state.judge import Result
from hanas_core.volume.errors import FolderError, FolderUnavailable
from hanas_core.volume.folder import Folder
from hanas_worker.host.duties import Duty
from hanas_worker.host.host import Host
from hanas_worker.log.service import Service
from hanas_worker.log.state import LogState


class _Desk:
    """What a thread needs to read the mail: open files, and registrations, which never change."""

    def __init__(self, folder: Folder, registrations: list[Registration]) -> None:
        """``registrations``: those that were read before."""
        self.mailboxes = Mailboxes(folder)
        self.registry = Registry(folder, registrations)


class Mail:
    """Reads everybody's mailbox and writes one's own."""

    def __init__(self, host: Host, logs: Sequence[LogState]) -> None:
        """Know nobody yet."""
        self._host = host
        self._logs = logs
        self._desk = host.new_lane(Duty.MAIL).owning(lambda: _Desk(host.folder, host.peers.registrations))
        self._probe_boxes = host.new_lane(Duty.PROBE).owning(lambda: Mailboxes(host.folder))
        self._probes: dict[int, LogProbe] = {}
        """The last probe of each log."""
        self._by_log: dict[int, LogAnswers] = {}
        """The answers in this worker's block, as the main of each log."""
        self._read_at = math.inf
        """When the mail was last read; before that, when the first look began: who is not here yet is not late."""
        self._looked_at = -math.inf
        """When the last look began."""
        self.read = asyncio.Event()
        """Set each time the mail was read."""

    @property
    def unread_for(self) -> float:
        """Seconds since the mailboxes could last be read, not counting pauses of this process."""
        return max(0.0, self._host.awake - self._read_at)

    def reopen(self) -> None:
        """Open the mailboxes anew: they are other files now."""
        self._desk.forget()
        self._probe_boxes.forget()

    async def exchange(self) -> None:
        """Read the mail; answer the probes, or read the answers to one's own. Raises FolderError.

        A worker that does neither reads it only every `watch_interval`: each look costs the volume and the processor.
        """
        host, since = self._host, self._host.awake
        self._read_at = min(self._read_at, since)
        serving = [(log.id, log.service) for log in self._logs if log.service is not None]
        asking = [log for log in self._logs if log.member.role is Role.BACKUP and log.member.detector.probe is not None]
        if not (serving or asking) and since - self._looked_at < host.timing.watch_interval:
            return
        registrations, presence, probes, answers = await self._desk.run(
            lambda desk: _read(desk, probes=bool(serving or asking), answers=bool(asking)), host.timing.folder_timeout
        )
        self._looked_at = since  # what failed is tried again each time: to look at nothing would count as a success
        self._read_at = host.awake
        self.read.set()
        host.peers.update(host.awake, registrations, presence)
        for log in self._logs:
            self._see_who_is_back(log)
        if serving:
            await self._answer(serving, probes)
        if answers:
            for log in asking:
                if self._stands(log, probes):
                    self._look_for_answer(log, answers, since)

    def _see_who_is_back(self, log: LogState) -> None:
        for other in self._host.others():
            shown = other.of(log.id)
            if shown.role is Role.BACKUP and shown.epoch == log.member.epoch:
                log.member.returned(other.member)
        for other in self._host.peers.presence.values():
            if other.left:
                log.member.returned(other.member)  # it was stopped in order, or a person said that it is gone

    async def probe(self, log: LogState, start: StartProbe) -> None:
        """Write a probe, try one's own canary at once, and tell the detector."""
        host, began = self._host, self._host.now
        self._probes[log.id] = LogProbe(start.nonce, start.epoch, log.id)
        probe = Probe(host.settings.member, host.incarnation, tuple(self._probes.values()))
        try:
            slot = host.own_slot
            ok = await self._probe_boxes.run(lambda boxes: _send(boxes, slot, probe), host.timing.folder_timeout)
        except FolderError as error:
            host.trouble(Duty.PROBE, error)
            ok = False
        else:
            host.recovered(Duty.PROBE)
        log.member.detector.canary(host.awake, start.nonce, ok=ok, took=host.now - began)

    def _stands(self, log: LogState, probes: list[Probe | None]) -> bool:
        """Return whether one's own probe can be seen: nobody answers one that another process has written over."""
        slot, probe = self._host.slot, log.member.detector.probe
        block = probes[slot] if slot < len(probes) else None
        written = None if block is None else block.of(log.id)
        return probe is not None and written is not None and written.nonce == probe.nonce

    async def try_canary(self) -> None:
        """Find out whether the folder keeps what this worker writes. Raises FolderError."""
        slot = self._host.slot
        if not await self._probe_boxes.run(lambda boxes: boxes.try_canary(slot), self._host.timing.folder_timeout):
            raise FolderUnavailable("the folder did not keep this worker's canary")

    def _look_for_answer(self, log: LogState, answers: list[Answers | None], since: float) -> None:
        host, claim = self._host, log.member.claim
        slot = None if claim is None else host.peers.slot_of(claim.member)
        block = None if slot is None else answers[slot]
        written = None if block is None else block.of(log.id)
        content = None
        if block is not None and written is not None and (answer := written.answers.get(host.slot)) is not None:
            content = (answer.nonce, written.epoch, block.incarnation, answer.full)
        log.member.detector.looked(host.awake, since, content)

    async def _answer(self, serving: list[tuple[int, Service]], probes: list[Probe | None]) -> None:
        """Answer each new probe."""
        by_log = dict(self._by_log)
        for log, service in serving:
            new = await self._answers(log, service, probes)
            if new is not None:
                by_log[log] = new
        if by_log == self._by_log:
            return
        block = Answers(self._host.incarnation, tuple(by_log.values()))
        slot, timeout = self._host.own_slot, self._host.timing.folder_timeout
        await self._desk.run(lambda desk: desk.mailboxes.write(Box.ANSWERS, slot, block), timeout)
        self._by_log = by_log  # only now: an answer that could not be written is written again

    async def _answers(self, log: int, service: Service, probes: list[Probe | None]) -> LogAnswers | None:
        """Answer each new probe of this epoch, after one no-op went through the real commit path in it."""
        epoch, before = service.epoch, self._by_log.get(log)
        answers = before.answers if before is not None and before.epoch == epoch else {}
        nonces: dict[int, str] = {
            slot: probe.nonce
            for slot, probe in enumerate(None if block is None else block.of(log) for block in probes)
            if probe is not None
            and probe.epoch == epoch
            and (slot not in answers or answers[slot].nonce != probe.nonce)
        }
        if not nonces or not await self._commits(service) or service.epoch != epoch:
            return None
        answers = {slot: answer for slot, answer in answers.items() if slot not in nonces}
        answers |= {slot: ProbeAnswer(nonce, service.full) for slot, nonce in nonces.items()}
        return LogAnswers(epoch, dict(list(answers.items())[-MOST_ANSWERS:]), log)

    @staticmethod
    async def _commits(service: Service) -> bool:
        """Prove that the service works: by a commit, or where the volume has no room for it, by its check alone."""
        outcome = await service.write(None)
        if outcome.result is not Result.NO_SPACE:
            return outcome.result is Result.COMMITTED
        return await service.fence() is not None


async def _read(
    desk: _Desk, *, probes: bool, answers: bool
) -> tuple[list[Registration], list[Presence | None], list[Probe | None], list[Answers | None]]:
    """Read everybody's presence, and the probes or the answers where they matter."""
    mailboxes, registry = desk.mailboxes, desk.registry
    presence = await registry.presence(mailboxes)
    slots = len(registry.registrations)
    return (
        list(registry.registrations),
        presence,
        await mailboxes.read(Box.PROBES, slots, Probe) if probes else [],
        await mailboxes.read(Box.ANSWERS, slots, Answers) if answers else [],
    )


async def _send(mailboxes: Mailboxes, slot: int, probe: Probe) -> bool:
    """Write one's probe and, at once, try one's own canary; return whether the folder kept it."""
    await mailboxes.write(Box.PROBES, slot, probe)
    return await mailboxes.try_canary(slot)
