"""Trying the volume together with the living members: each must find what the other has just written.

Who joins leaves a word in a new file and asks for it in its presence block; the others look and show what they found.
So both ways are tried: they saw its block and its file, and it sees theirs. Nobody waits for it.
"""

import logging

from hanas_core.members.documents import LOG, Echo, Inquiry, Presence
from hanas_core.members.verdicts import Verdict
from hanas_core.volume import fitness
from hanas_core.volume.errors import FolderError, NoSpace
from hanas_core.volume.fitness import Unfit
from hanas_core.volume.names import nonce
from hanas_worker.host.duties import Duty
from hanas_worker.host.host import Host
from hanas_worker.neighbours.mail import Mail

log = logging.getLogger("hanas.worker")

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
        self._looking: set[str] = set()
        self.inquiry: Inquiry | None = None

    @property
    def echoes(self) -> tuple[Echo, ...]:
        """What this worker answers."""
        return tuple(self._echoes.values())[-_MOST_ECHOES:]

    def answer(self) -> None:
        """Answer those who ask, until their word was found; to be called when the mail was read."""
        for other in self._host.others():
            asked, known = other.inquiry, self._echoes.get(other.member)
            answered = asked is None or (known is not None and known.nonce == asked.nonce and known.word)
            if asked is not None and not answered and other.member not in self._looking:
                self._looking.add(other.member)
                self._host.spawn(self._look(other.member, asked))

    async def _look(self, asker: str, asked: Inquiry) -> None:
        host = self._host
        try:
            word = await host.in_lane(Duty.FITNESS, fitness.find_word(host.folder, asked.name))
            echo = Echo(asker, asked.nonce, word=word)
        except FolderError as error:
            echo = Echo(asker, asked.nonce, trouble=str(error)[:_MOST_TROUBLE_CHARS])
        self._looking.discard(asker)
        if self._echoes.pop(asker, None) != echo:
            host.wakers[Duty.PRESENCE].set()
        self._echoes[asker] = echo

    async def ask(self) -> None:
        """Ask all members that live now and wait for their answers. Raises Unfit."""
        try:
            await self._asked()
        except NoSpace:
            log.warning("the volume is full, so it could not be tried together with the others")
        except FolderError as error:
            self._host.trouble(Duty.FITNESS, error)
        finally:
            self.inquiry = None

    async def _asked(self) -> None:
        host, began = self._host, self._host.now
        await self._mail_read()
        leaving = fitness.leave_word(host.folder, host.settings.member, host.incarnation)
        name, word = await host.in_lane(Duty.FITNESS, leaving)
        self.inquiry = Inquiry(name, nonce())
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
                and not self._kept(before[name], present[name], word)
            }
        await host.in_lane(Duty.FITNESS, host.folder.remove(name))
        if before:
            log.info("the folder was tried with %s, %.3f s", ", ".join(sorted(before)), host.now - began)

    async def _mail_read(self) -> None:
        self._mail.read.clear()
        await self._mail.read.wait()

    def _kept(self, before: Presence, present: Presence, word: str) -> bool:
        """Tell whether this member found the word; False: it has not answered yet. Raises Unfit."""
        inquiry = self.inquiry
        asked = [
            echo
            for echo in present.echoes or ()
            if inquiry is not None and (echo.to, echo.nonce) == (self._host.settings.member, inquiry.nonce)
        ]
        if asked and asked[0].word == word:
            return True
        unusable = present.of(LOG).verdict is Verdict.FOLDER_UNAVAILABLE
        late = present.counter - before.counter > _MOST_MOVES and not unusable
        if asked and asked[0].word:
            raise Unfit(f"a new file is seen by others as it was synced: {present.member} found something else in it")
        if not late:
            return False
        if asked:
            raise Unfit(f"a new name is seen by others: {present.member} did not find it: {asked[0].trouble}")
        raise Unfit(
            f"a block is seen by others: {present.member} lives, but has not seen what this worker wrote "
            f"{_MOST_MOVES} times"
        )
