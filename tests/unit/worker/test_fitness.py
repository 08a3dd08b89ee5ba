"""A worker that joins tries the volume together with those that live."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from hanas_core.members import mailboxes
from hanas_core.members.documents import Echo, Inquiry, LogPresence, Presence
from hanas_core.members.registry import Registration
from hanas_core.members.roles import Role
from hanas_core.members.verdicts import Verdict
from hanas_core.volume.blocking import run
from hanas_core.volume.errors import FolderUnavailable
from hanas_core.volume.fitness import Unfit, leave_word
from hanas_serving.runtime import Runtime
from hanas_worker.host import settings
from hanas_worker.host.host import Host
from hanas_worker.neighbours.fitness import Fitness
from hanas_worker.neighbours.mail import Mail
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import FOLDER_ID, bare_folder
from tests.unit.waiting import AMPLE_SECONDS, until


def shown(member: str, **changes: object) -> Presence:
    block = Presence(
        member=member,
        incarnation=member * 32,
        counter=1,
        advertise_url="http://x",
        link_url="http://x",
        logs=(LogPresence(role=Role.BACKUP, epoch=1),),
        echoes=(),
    )
    return msgspec.structs.replace(block, **changes)


class Member:
    """One worker's part, and what it sees of the others."""

    def __init__(self, name: str, folder: MemoryFolder) -> None:
        environment = {"WORKER_ID": name, "HANAS_PRESENCE_INTERVAL": "0.05"}
        self.host = Host(settings.read(environment), folder, FOLDER_ID, Runtime())
        self.mail = Mail(self.host, [])
        self.fitness = Fitness(self.host, self.mail)

    def see(self, *others: Presence) -> None:
        slots = [Registration(other.member, slot, "http://x", "http://x") for slot, other in enumerate(others)]
        self.host.own_time.turn(self.host.now)
        self.host.peers.update(self.host.awake, slots, list(others))
        self.fitness.answer()
        self.mail.read.set()

    def shows(self, counter: int = 1) -> Presence:
        return shown(
            self.host.settings.member, counter=counter, inquiry=self.fitness.inquiry, echoes=self.fitness.echoes
        )


def folder_with_mail() -> MemoryFolder:
    folder = bare_folder()
    run(mailboxes.allocate(folder))
    return folder


@asynccontextmanager
async def asking(joining: Member, answer: Callable[[int], list[Presence]]) -> AsyncIterator[asyncio.Task[None]]:
    """Let ``joining`` ask, and show it again and again what ``answer`` gives for the number of the look.

    Before it has asked, that is 0 and -1 in turn, so that it sees who moves.
    """
    task = asyncio.create_task(joining.fitness.ask())
    async with asyncio.timeout(AMPLE_SECONDS):
        look = 0
        while not task.done():
            look = ~look if joining.fitness.inquiry is None and look <= 0 else look + 1
            joining.see(*answer(look))
            await asyncio.sleep(0)
        yield task


async def test_both_see_what_the_other_wrote() -> None:
    folder = folder_with_mail()
    old, new = Member("a", folder), Member("b", folder.other())

    def answer(look: int) -> list[Presence]:
        old.see(new.shows(look))
        return [old.shows(look // 1000)]  # slowly: the thread that looks for the word has to have its turn

    async with asking(new, answer) as task:
        await task
    assert [(echo.to, bool(echo.word)) for echo in old.fitness.echoes] == [("b", True)]
    assert new.fitness.inquiry is None


async def test_alone_there_is_nobody_to_try_it_with() -> None:
    async with asking(Member("b", folder_with_mail()), lambda _: []) as task:
        await task


async def test_a_member_of_another_version_is_not_waited_for() -> None:
    async with asking(Member("b", folder_with_mail()), lambda look: [shown("a", counter=look, echoes=None)]) as task:
        await task


async def test_a_member_that_dies_is_not_waited_for() -> None:
    async with asking(
        Member("b", folder_with_mail()), lambda look: [shown("a", counter=look)] if look < 9 else []
    ) as task:
        await task


async def test_a_member_that_lives_and_does_not_see_what_is_written_means_that_the_volume_is_unfit() -> None:
    async with asking(Member("b", folder_with_mail()), lambda look: [shown("a", counter=look)]) as task:
        with pytest.raises(Unfit, match="a lives, but has not seen what this worker wrote"):
            await task


async def test_a_member_whose_own_folder_fails_proves_nothing() -> None:
    def answer(look: int) -> list[Presence]:
        verdict = Verdict.FOLDER_UNAVAILABLE if look < 100 else Verdict.HEALTHY
        return [shown("a", counter=look, logs=(LogPresence(verdict=verdict),))] if look < 99 else []

    async with asking(Member("b", folder_with_mail()), answer) as task:
        await task


def echo_of(new: Member, look: int, **said: str) -> list[Presence]:
    inquiry = new.fitness.inquiry or Inquiry("", "")
    return [shown("a", counter=look, echoes=(Echo("b", inquiry.nonce, **said),))]


async def test_a_name_that_stays_missing_is_named() -> None:
    new = Member("b", folder_with_mail())
    async with asking(new, lambda look: echo_of(new, look, trouble="no such file")) as task:
        with pytest.raises(Unfit, match="a new name is seen by others: a did not find it: no such file"):
            await task


async def test_other_content_than_was_synced_is_named_at_once() -> None:
    new = Member("b", folder_with_mail())
    async with asking(new, lambda look: echo_of(new, look, word="other")) as task:
        with pytest.raises(Unfit, match="a found something else in it"):
            await task


async def test_a_member_that_did_not_find_the_word_looks_again() -> None:
    folder = folder_with_mail()
    old, new = Member("a", folder), Member("b", folder.other())
    name, word = run(leave_word(new.host.folder, "b", "b" * 32))
    folder.at("open", name, before=FolderUnavailable("input/output error"))
    asks = shown("b", inquiry=Inquiry(name, "n"))
    old.see(msgspec.structs.replace(asks, counter=0))
    assert not old.fitness.echoes, "who is not seen to live gets no answer"
    old.see(asks)
    await until(lambda: [echo.trouble for echo in old.fitness.echoes] == ["input/output error"])
    folder.cancel()
    old.see(msgspec.structs.replace(asks, counter=2))
    await until(lambda: [echo.word for echo in old.fitness.echoes] == [word])
