"""A worker whose folder hangs, breaks or is full, on a folder in memory."""

import asyncio
import secrets

import pytest

from hanas_core.members import cluster, mailboxes
from hanas_core.members.detector import Conclude, Evidence
from hanas_core.members.documents import LOG
from hanas_core.members.roles import MainState, Role
from hanas_core.members.verdicts import Verdict
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.errors import FolderUnavailable, NoSpace
from hanas_serving.runtime import Runtime
from hanas_worker.host import settings
from hanas_worker.host.duties import Duty
from hanas_worker.log.follower import Follower
from hanas_worker.log.news import LogNews
from hanas_worker.node import Node
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import FOLDER_ID, bare_folder, serve
from tests.unit.waiting import AMPLE_SECONDS, until
from tests.unit.worker.nodes import FolderDecides, Nobody, backup_of


def prepared(folder: MemoryFolder) -> list[str]:
    return run(folder.names(names.TEMPORARY))


async def test_a_backup_goes_on_redirecting_while_its_folder_does_not_work() -> None:
    main = serve(bare_folder(), 1)
    folder = main.folder.other()
    node = backup_of(main, folder)
    assert not node.logs[LOG].ready
    follower = Follower(node.logs[LOG].state)
    await follower.catch_up()
    assert (node.logs[LOG].main_url, node.logs[LOG].ready) == (None, False), "nobody was heard yet"
    node.logs[LOG].hearing.hear(main.claim.incarnation, LogNews(epoch=1, state=MainState.SERVING), fresh=True)
    assert node.logs[LOG].main_url == main.claim.advertise_url
    for _ in range(3):
        folder.at("read", before=FolderUnavailable("transport endpoint is not connected"))
        with pytest.raises(FolderUnavailable):
            await follower.catch_up()
        assert node.logs[LOG].main_url == main.claim.advertise_url
    folder.cancel()
    await follower.catch_up()
    assert node.logs[LOG].state.followed_epoch == 1


async def test_a_worker_that_was_the_main_before_its_restart_does_not_redirect_to_itself() -> None:
    main = serve(bare_folder(), 1)
    read = settings.read({"WORKER_ID": "a", "ADVERTISE_URL": main.claim.advertise_url})
    node = Node(read, main.folder.other(), FOLDER_ID, FolderDecides(), Nobody(), Runtime())
    node.logs[LOG].state.member.see(node.host.now, main.claim, 0)
    await Follower(node.logs[LOG].state).catch_up()
    assert node.logs[LOG].state.followed_epoch == 1
    node.logs[LOG].hearing.hear(main.claim.incarnation, LogNews(epoch=1, state=MainState.SERVING), fresh=True)
    assert node.logs[LOG].main_url is None
    assert not node.logs[LOG].ready


async def test_a_takeover_on_a_full_volume_gives_up_a_reserve_for_its_claim() -> None:
    main = serve(bare_folder(), 1)
    folder = main.folder.other()
    node = backup_of(main, folder)
    await node.logs[LOG].tenure.prepare()
    assert len(prepared(folder)) == 7, "a segment, and two reserves of three files"
    folder.at("create", names.TEMPORARY, before=NoSpace("no space left on device"))
    evidence = Evidence(words="gone", keepalive_age=1.0, keepalives_heard=1, stalled_for=0.0)
    await node.logs[LOG].challenge(Conclude(1, Verdict.PRIMARY_FAILED, evidence))
    assert node.logs[LOG].state.member.epoch == 2
    await until(lambda: node.logs[LOG].serving is not None)
    assert len(prepared(folder)) == 3, "one reserve for another takeover"
    assert node.logs[LOG].state.member.role is Role.MAIN
    await node.logs[LOG].tenure.prepare()
    service = node.logs[LOG].serving
    assert service is not None
    assert (len(prepared(folder)), service.log.spare is not None) == (7, True)
    service.end("the test is over")


async def test_a_takeover_that_fails_leaves_no_prepared_space_behind() -> None:
    main = serve(bare_folder(), 1)
    folder = main.folder.other()
    node = backup_of(main, folder)
    await node.logs[LOG].tenure.prepare()
    evidence = Evidence(words="gone", keepalive_age=1.0, keepalives_heard=1, stalled_for=0.0)
    folder.at("write_block", names.claim(1), before=FolderUnavailable("input/output error"))
    await node.logs[LOG].challenge(Conclude(1, Verdict.PRIMARY_FAILED, evidence))
    await until(lambda: node.logs[LOG].state.member.role is Role.BACKUP)
    await until(lambda: len(prepared(folder)) == 3)
    assert node.logs[LOG].serving is None


async def test_trouble_is_said_once_for_each_duty_and_stands_until_that_duty_works(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    host = backup_of(serve(bare_folder(), 1), bare_folder()).host
    for number in range(20):
        host.trouble(Duty.MAIL, FolderUnavailable(f"mailboxes: input/output error {number}"))
        host.trouble(Duty.PREPARE, NoSpace(f"tmp/b~{secrets.token_hex(16)}: no space left on device"))
    assert (host.folder_trouble or "").startswith("prepare: tmp/b~")
    assert len(caplog.records) == 2
    host.recovered(Duty.PREPARE)
    assert host.folder_trouble == "mail: mailboxes: input/output error 19"
    host.recovered(Duty.WATCH)
    host.recovered(Duty.MAIL)
    assert not host.folder_trouble
    assert [record.message for record in caplog.records[2:]] == [
        "the folder works again (prepare)",
        "the folder works again (mail)",
    ]


async def test_a_probe_that_failed_is_forgotten_when_the_folder_takes_writes_again() -> None:
    folder = bare_folder()
    run(mailboxes.allocate(folder))
    node = backup_of(serve(folder, 1), folder.other())
    node.host.slot = 1
    node.host.trouble(Duty.PROBE, FolderUnavailable("mailboxes/probes: input/output error"))
    await node.presence.show()
    assert not node.host.folder_trouble


async def test_an_error_of_this_program_in_a_takeover_ends_the_worker() -> None:
    """A worker that stayed a main-elect for ever would never serve, nor suspect anyone."""
    folder = bare_folder()
    run(cluster.initialise(folder, FOLDER_ID))
    node = Node(settings.read({"WORKER_ID": "a"}), folder, FOLDER_ID, FolderDecides(), Nobody(), Runtime())
    folder.at("create", names.TEMPORARY, nth=3, before=ValueError("a mistake"))
    with pytest.raises(ValueError, match="a mistake"):
        async with asyncio.timeout(AMPLE_SECONDS):
            await node.run(asyncio.Event())
    assert node.logs[LOG].serving is None
