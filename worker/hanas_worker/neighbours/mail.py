"""The mailboxes: answering probes as the main, probing as a backup, and seeing who else is there."""

import asyncio
from collections.abc import Callable

from hanas_core.members.detector import StartProbe
from hanas_core.members.documents import LEFT
from hanas_core.members.mailboxes import MOST_ANSWERS, Answer, Answers, Box, Mailboxes, Probe
from hanas_core.members.member import Role
from hanas_core.state.judge import Result
from hanas_core.volume.errors import FolderError
from hanas_worker.host import duties
from hanas_worker.host.state import State
from hanas_worker.log.service import EpochEnded, Service


class Mail:
    """Reads everybody's mailbox and writes one's own."""

    def __init__(self, state: State, serving: Callable[[], Service | None]) -> None:
        """``serving`` returns the service while this worker is the main."""
        self._state = state
        self._serving = serving
        self._desk = state.lane("mail").owning(lambda: duties.MailDesk(state.folder, state.peers.registrations))
        self._probe_boxes = state.lane("probe").owning(lambda: Mailboxes(state.folder))
        self._answered: tuple[int, dict[int, Answer]] = (0, {})
        self._read_at = state.awake
        self.read = asyncio.Event()
        """Set each time the mail was read."""

    @property
    def unread_for(self) -> float:
        """Seconds since the mailboxes could last be read, not counting pauses of this process."""
        return self._state.awake - self._read_at

    async def exchange(self) -> None:
        """Read the mail; answer the probes, or look for the answer to one's own. Raises FolderError."""
        state, service = self._state, self._serving()
        backup = state.member.role is Role.BACKUP
        since = state.now
        probed = backup and state.member.detector.probe is not None
        mail = await self._desk.run(
            lambda desk: duties.read_mail(desk, probes=service is not None, answers=probed),
            state.timing.folder_timeout,
        )
        self._read_at = state.awake
        self.read.set()
        state.peers.update(state.now, mail.registrations, mail.presence)
        for other in state.others():
            if other.role == Role.BACKUP and other.epoch == state.member.epoch:
                state.member.returned(other.member)
        for shown in state.peers.presence.values():
            if shown.role == LEFT:
                state.member.returned(shown.member)  # it was stopped in order, or a person said that it is gone
        if service is not None:
            await self._answer(service, mail.probes)
        elif mail.answers:
            self._look_for_answer(mail.answers, since)

    async def probe(self, start: StartProbe) -> None:
        """Write a probe, try one's own canary at once, and tell the detector."""
        state = self._state
        probe = Probe(state.settings.member, state.member.incarnation, start.nonce, start.epoch)
        try:
            kept = await self._probe_boxes.run(
                lambda boxes: duties.send_probe(boxes, state.slot, probe), state.timing.folder_timeout
            )
        except FolderError as error:
            state.trouble("probe", error)
            kept = False
        else:
            state.recovered("probe")
        state.member.detector.canary(state.now, start.nonce, ok=kept)

    def _look_for_answer(self, answers: list[Answers | None], since: float) -> None:
        state = self._state
        slot = None if state.member.claim is None else state.peers.slot_of(state.member.claim.member)
        written = None if slot is None else answers[slot]
        answer = None if written is None else written.answers.get(state.slot)
        told = None
        if written is not None and answer is not None:
            told = (answer.nonce, written.epoch, written.incarnation, answer.full)
        state.member.detector.looked(state.now, since, told)

    async def _answer(self, service: Service, probes: list[Probe | None]) -> None:
        """Answer each new probe of this epoch, after one no-op went through the real commit path in it."""
        epoch = service.epoch
        answered = self._answered[1] if self._answered[0] == epoch else {}
        asked: dict[int, str] = {
            slot: probe.nonce
            for slot, probe in enumerate(probes)
            if probe is not None
            and probe.epoch == epoch
            and (slot not in answered or answered[slot].nonce != probe.nonce)
        }
        if not asked or not await self._commits(service) or service.epoch != epoch:
            return
        answered = {slot: answer for slot, answer in answered.items() if slot not in asked}
        answered |= {slot: Answer(nonce, service.full) for slot, nonce in asked.items()}
        answered = dict(list(answered.items())[-MOST_ANSWERS:])
        answers = Answers(epoch, self._state.member.incarnation, answered)
        await self._desk.run(
            lambda desk: desk.mailboxes.write(Box.ANSWERS, self._state.slot, answers),
            self._state.timing.folder_timeout,
        )
        self._answered = epoch, answered  # only now: an answer that could not be written is written again

    @staticmethod
    async def _commits(service: Service) -> bool:
        """Prove that the service works: by a commit, or where the volume has no room for it, by its check alone."""
        outcome = await service.write(None)
        if outcome.result is not Result.NO_SPACE:
            return outcome.result is Result.COMMITTED
        try:
            await service.fence()
        except EpochEnded:
            return False
        return True
