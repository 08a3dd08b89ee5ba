"""The main answers probes, again and again if the folder does not take the answer at once."""

from asyncio import Future
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from hanas_core.log import records
from hanas_core.members import mailboxes
from hanas_core.members.documents import LOG
from hanas_core.members.mailboxes import Answers, Box, LogProbe, Mailboxes, Probe
from hanas_core.members.registry import Registry
from hanas_core.state.judge import Outcome, Request
from hanas_core.state.queue import MOST_QUEUED_BYTES
from hanas_core.volume.blocking import run
from hanas_core.volume.errors import FolderUnavailable
from hanas_serving.lanes import Lane, SystemThread
from hanas_serving.runtime import Runtime
from hanas_worker.host import settings
from hanas_worker.host.duties import Duty
from hanas_worker.host.host import Host
from hanas_worker.log.service import Service
from hanas_worker.log.state import LogState
from hanas_worker.neighbours.mail import Mail
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import FOLDER_ID, bare_folder, take_over, win
from tests.unit.waiting import AMPLE_SECONDS

NONCE = "5" * 32


@dataclass
class Post:
    """A main and its mail; another member has a mailbox."""

    folder: MemoryFolder
    host: Host
    service: Service
    state: LogState
    mail: Mail
    asking: int
    """The slot of the other member."""

    def ask(self, epoch: int) -> None:
        run(Mailboxes(self.folder).write(Box.PROBES, self.asking, Probe("b", "b" * 32, (LogProbe(NONCE, epoch),))))

    def answers(self) -> Answers | None:
        return run(Mailboxes(self.folder).read(Box.ANSWERS, self.host.slot + 1, Answers))[self.host.slot]


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    folder = bare_folder()
    run(mailboxes.allocate(folder))
    host = Host(settings.read({"WORKER_ID": "a"}), folder, FOLDER_ID, Runtime())
    host.slot = run(Registry(folder).slot_of("a", "a" * 32, "http://a", "http://a"))
    asking = run(Registry(folder).slot_of("b", "b" * 32, "http://b", "http://b"))
    state = LogState(host)
    promotion = run(take_over(folder, win(folder, 1), state.replica))
    state.service = service = Service(
        promotion,
        state.replica,
        lanes=(Lane(Duty.COMMIT, SystemThread), Lane(Duty.READ_CHECK, SystemThread)),
        timeout=AMPLE_SECONDS,
        queue_bytes=MOST_QUEUED_BYTES,
        form=records.PLAIN,
        on_end=lambda ended, why: None,
        on_room_needed=lambda: None,
    )
    yield Post(folder, host, service, state, Mail(host, [state]), asking)
    service.end("the test is over")


async def test_an_answer_that_could_not_be_written_is_written_again(post: Post) -> None:
    """Otherwise the one who asked would conclude that the main failed: after a mount was replaced, for instance."""
    post.ask(epoch=1)
    post.folder.at("write_block", str(Box.ANSWERS), before=FolderUnavailable("transport endpoint is not connected"))
    with pytest.raises(FolderUnavailable):
        await post.mail.exchange()
    await post.mail.exchange()
    written = post.answers()
    assert written is not None
    [answers] = written.logs
    assert (answers.log, answers.epoch) == (LOG, 1)
    assert answers.answers[post.asking].nonce == NONCE


async def test_a_probe_of_an_epoch_that_ends_while_it_is_answered_gets_no_answer(post: Post) -> None:
    """The commit that proves that the main works was one of the next epoch, to which compaction had rolled."""
    post.ask(epoch=1)
    commits = post.service.write

    def rolled(_: Future[Outcome]) -> None:
        post.service.epoch = 2

    def committed_by_a_roll(write: Request) -> Future[Outcome]:
        outcome = commits(write)
        outcome.add_done_callback(rolled)
        return outcome

    post.service.write = committed_by_a_roll  # type: ignore[method-assign]
    await post.mail.exchange()
    assert post.answers() is None


async def test_a_backup_whose_look_failed_looks_again_at_once(post: Post) -> None:
    """Not to look would count as a success: the folder would be said to work again, several times a second."""
    post.state.service = None
    post.folder.at("read", str(Box.PRESENCE), before=FolderUnavailable("the folder did not answer"))
    with pytest.raises(FolderUnavailable):
        await post.mail.exchange()
    assert not post.mail.read.is_set()
    await post.mail.exchange()
    assert post.mail.read.is_set()


async def test_the_mail_is_late_only_once_it_has_been_looked_for(post: Post) -> None:
    """A worker that waits for its earlier run reads none: it would call its folder unavailable as soon as it joins."""
    assert post.mail.unread_for == 0.0
    post.folder.at("read", str(Box.PRESENCE), before=FolderUnavailable("the folder did not answer"))
    with pytest.raises(FolderUnavailable):
        await post.mail.exchange()
    assert post.mail.unread_for > 0.0
