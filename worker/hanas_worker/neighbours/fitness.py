"""The trial of the volume together with the live members: each must find what the other has just written.

A member that joins writes a random word to a new file and asks for it in its presence block; the others read it and
show it in theirs. So both directions are tried: they saw its block and its file, and it sees theirs. Nobody waits.
"""

import asyncio
import logging

from hanas_core.members.documents import LOG, Echo, Inquiry, Presence
from hanas_core.members.verdicts import Verdict
from hanas_core.volume import fitness
from hanas_core.volume.errors import FolderError, NoSpace
from hanas_core.volume.fitness import Unfit
from hanas_worker.host.duties import Duty
from hanas_worker.host.host import Host
from hanas_worker.neighbours.mail import Mail

_log = logging.getLogger("hanas.worker")

_MOVE_INTERVALS = 2
"""After this many presence intervals, the counter of a member that lives was seen to move."""
_MOST_MOVES = 20
"""A member that showed itself this often after it was asked, and did not answer, has not seen the question."""
_MOST_ECHOES = 4
_MOST_TROUBLE_CHARS = 200


class Fitness:
    """Asks when this worker joins, and answers whoever asks."""

    def __init__(self, host: Host, mail: Mail) -> None:
        """Ask and answer nobody yet."""
        self._host = host
        self._mail = mail
        self._echoes: dict[str, Echo] = {}
        self._askers: set[str] = set()
        """Those for whom a look is under way."""
        self.inquiry: Inquiry | None = None

    @property
    def echoes(self) -> tuple[Echo, ...]:
        """What this worker answers."""
        return tuple(self._echoes.values())[-_MOST_ECHOES:]

    def answer(self) -> None:
        """Answer those who ask, until their word was found; to be called when the mail was read."""
        for other in self._host.others():
            inquiry, echo = other.inquiry, self._echoes.get(other.member)
            if inquiry is None or other.member in self._askers:
                continue
            if echo is None or echo.nonce != inquiry.nonce or not echo.word:
                self._askers.add(other.member)
                self._host.spawn(self._look(other.member, inquiry))

    async def _look(self, asker: str, inquiry: Inquiry) -> None:
        host = self._host
        try:
            word = await host.in_lane(Duty.FITNESS, fitness.find_word(host.folder, inquiry.name))
            echo = Echo(asker, inquiry.nonce, word=word)
        except FolderError as error:
            echo = Echo(asker, inquiry.nonce, trouble=str(error)[:_MOST_TROUBLE_CHARS])
        self._askers.discard(asker)
        if self._echoes.pop(asker, None) != echo:
            host.wakers[Duty.PRESENCE].set()
        self._echoes[asker] = echo

    async def ask(self) -> None:
        """Ask all members that live now and wait for their answers. Raises Unfit."""
        try:
            await self._ask()
        except NoSpace:
            _log.warning("the volume is full, so it could not be tried together with the others")
        except FolderError as error:
            self._host.trouble(Duty.FITNESS, error)
        finally:
            self.inquiry = None

    async def _ask(self) -> None:
        host, began = self._host, self._host.now
        await asyncio.sleep(_MOVE_INTERVALS * host.timing.presence_interval)
        await self._mail_read()
        leaving = fitness.leave_word(host.folder, host.settings.member, host.incarnation)
        name, word = await host.in_lane(Duty.FITNESS, leaving)
        self.inquiry = Inquiry(name, host.runtime.nonce())
        before = {other.member: other for other in host.others() if other.echoes is not None}
        host.wakers[Duty.PRESENCE].set()
        waiting = set(before)
        while waiting:
            await self._mail_read()
            present = {other.member: other for other in host.others()}
            waiting = {
                name
                for name in waiting & set(present)
                if present[name].incarnation == before[name].incarnation
                and not self._has_found(before[name], present[name], word)
            }
        await host.in_lane(Duty.FITNESS, host.folder.remove(name))
        if before:
            _log.info("the folder was tried with %s, %.3f s", ", ".join(sorted(before)), host.now - began)

    async def _mail_read(self) -> None:
        self._mail.read.clear()
        await self._mail.read.wait()

    def _has_found(self, before: Presence, present: Presence, word: str) -> bool:
        """Return whether this member found the word; False: it has not answered yet. Raises Unfit."""
        assert self.inquiry is not None, "answers are awaited to one's own question"
        address = self._host.settings.member, self.inquiry.nonce
        echo = next((echo for echo in present.echoes or () if (echo.to, echo.nonce) == address), None)
        if echo is not None and echo.word:
            if echo.word == word:
                return True
            raise Unfit(f"a new file is seen by others as it was synced: {present.member} found something else in it")
        unusable = present.of(LOG).verdict is Verdict.FOLDER_UNAVAILABLE
        if unusable or present.counter - before.counter <= _MOST_MOVES:
            return False
        if echo is not None:
            raise Unfit(f"a new name is seen by others: {present.member} did not find it: {echo.trouble}")
        raise Unfit(
            f"a block is seen by others: {present.member} lives, but has not seen what this worker wrote "
            f"{_MOST_MOVES} times"
        )
