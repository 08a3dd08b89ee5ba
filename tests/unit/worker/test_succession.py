"""A main that is asked to hand over to a backup: whom it accepts, and what it writes."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import msgspec
import pytest

from hanas_core.log.claimfile import Seal
from hanas_core.log.manifests import Cut
from hanas_core.log.seals import read_seal
from hanas_core.members.detector import Conclude
from hanas_core.members.documents import LOG, LogPresence
from hanas_core.members.roles import Role
from hanas_core.members.verdicts import Verdict
from hanas_core.volume.blocking import run
from hanas_serving.credentials import Credentials
from hanas_serving.gate import Gate
from hanas_worker.host import settings
from hanas_worker.log.succession import (
    MOST_BEHIND_BYTES,
    NotMain,
    NotReady,
    NotSwitched,
    TryAgain,
    UnknownMember,
    behind_bytes,
    choose,
)
from hanas_worker.node import Node
from hanas_worker.ops.app import WorkerApplication
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import bare_folder, serve
from tests.unit.waiting import AMPLE_SECONDS
from tests.unit.worker.nodes import backup_of
from tests.unit.worker.test_leaving import GONE
from tests.unit.worker.test_peers import REGISTRATIONS, presence

ONE = "1" * 16
"""The incarnation of the member ``one``."""
READY = LogPresence(role=Role.BACKUP, epoch=1, verdict=Verdict.HEALTHY)


def shows(node: Node, moves: bool = True, left: bool = False, **changes: Any) -> None:
    """Let ``one`` show itself to ``node``."""
    logs = (msgspec.structs.replace(READY, **changes),)
    for counter in (1, 2) if moves else (1,):
        blocks = [None, presence("one", counter, logs=logs, left=left)]
        node.host.peers.update(node.host.awake, REGISTRATIONS[:2], blocks)


def a_backup() -> Node:
    main = serve(bare_folder(), 1)
    return backup_of(main, main.folder.other())


async def a_main() -> tuple[Node, MemoryFolder]:
    """Return a node that serves epoch 2."""
    main = serve(bare_folder(), 1)
    folder = main.folder.other()
    node = backup_of(main, folder)
    await node.logs[LOG].tenure.prepare()
    driver = node.logs[LOG]
    driver.do([Conclude(1, Verdict.PRIMARY_FAILED, GONE)])
    async with asyncio.timeout(AMPLE_SECONDS):
        while driver._claiming:
            await asyncio.wait(driver._claiming)
    assert driver.serving is not None
    return node, folder


@pytest.mark.parametrize("verdict", [Verdict.HEALTHY, Verdict.FOLDER_FULL])
async def test_a_backup_that_hears_the_main_is_accepted(verdict: Verdict) -> None:
    node = a_backup()
    shows(node, verdict=verdict, applied="1/1/4096")
    assert choose(node.host, LOG, "one", [Cut(1, 1, 4096 + MOST_BEHIND_BYTES)]) == ONE


async def test_who_cannot_take_over_at_once_is_refused() -> None:
    node = a_backup()
    with pytest.raises(UnknownMember, match="there is no member 'one'; nothing was done"):
        choose(node.host, LOG, "one", [])
    with pytest.raises(NotReady, match="b is the main already"):
        choose(node.host, LOG, "b", [])
    shows(node, moves=False)
    with pytest.raises(NotReady, match="one does not run"):
        choose(node.host, LOG, "one", [])
    shows(node, left=True)
    with pytest.raises(NotReady, match="one does not run, or left"):
        choose(node.host, LOG, "one", [])
    for role, verdict in (
        (Role.JOINING, Verdict.HEALTHY),
        (Role.MAIN, Verdict.HEALTHY),
        (Role.BACKUP, Verdict.UNKNOWN),
        (Role.BACKUP, Verdict.LINK_FAILED),
        (Role.BACKUP, Verdict.FOLDER_UNAVAILABLE),
    ):
        shows(node, role=role, verdict=verdict)
        with pytest.raises(NotReady, match=f"one is not ready: it is {role} with the verdict {verdict}"):
            choose(node.host, LOG, "one", [])
    shows(node, applied="1/1/4095")
    with pytest.raises(NotReady, match=f"far behind: it has yet to apply {MOST_BEHIND_BYTES + 1} bytes"):
        choose(node.host, LOG, "one", [Cut(1, 1, 4096 + MOST_BEHIND_BYTES)])


@pytest.mark.parametrize(
    ("applied", "behind"),
    [
        ("2/1/5000", 0),
        ("2/1/6000", 0),
        ("2/1/4096", 904),
        ("1/2/7000", 904),
        ("1/2/4096", 904 + 2904),
        ("1/1000001/4100", 904 + 2904 + 900),
        ("0/0/0", 904 + 2904 + 904),
        ("1/1/9000", 904 + 2904 + 904),
        ("", 904 + 2904 + 904),
        ("2/1/x", 904 + 2904 + 904),
    ],
)
def test_what_a_backup_has_yet_to_apply_is_measured_by_the_main(applied: str, behind: int) -> None:
    """A backup that is still in another segment knows nothing of its lag."""
    assert behind_bytes(applied, [Cut(1, 1000001, 5000), Cut(1, 2, 7000), Cut(2, 1, 5000)]) == behind


async def test_a_main_hands_over_to_the_one_that_it_names_and_stays_as_a_backup() -> None:
    node, folder = await a_main()
    driver = node.logs[LOG]
    shows(node)
    assert await driver.switch_over("one") == 2
    seal = run(read_seal(folder, 2))
    assert isinstance(seal, Seal)
    assert (seal.planned, seal.successor, seal.incarnation) == (True, ONE, node.host.incarnation)
    assert driver.serving is None
    assert driver.state.member.role is Role.BACKUP
    with pytest.raises(NotMain):
        await driver.switch_over("one")
    node.host.cancel_background()


async def test_nothing_happens_while_an_epoch_begins_or_ends() -> None:
    node, _ = await a_main()
    driver = node.logs[LOG]
    shows(node)
    driver.tenure.rolling = True
    with pytest.raises(TryAgain):
        await driver.switch_over("one")
    driver.tenure.rolling = False
    assert driver.serving is not None
    answers = await asyncio.gather(*(driver.switch_over("one") for _ in range(3)), return_exceptions=True)
    assert answers.count(2) == 1
    assert all(isinstance(answer, NotSwitched) for answer in answers if answer != 2)
    node.host.cancel_background()


TOKENS = {"client": {"Authorization": "Bearer the-token"}, "secret": {"Authorization": "Bearer the-secret"}, "": {}}


async def asked(
    app: WorkerApplication,
    who: str,
    content: bytes = b'{"to":"one"}',
    headers: Mapping[str, str] | None = None,
    address: str = "127.0.0.1",
) -> httpx.Response:
    transport = httpx.ASGITransport(app, client=(address, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
        sent = {"Content-Type": "application/json", **TOKENS[who], **(headers or {})}
        return await http.post("/v1/switchover", content=content, headers=sent)


def application(*, guarded: bool = True) -> WorkerApplication:
    read = settings.read({"WORKER_ID": "b"})
    if guarded:
        read = msgspec.structs.replace(read, client_tokens=("the-token",), secrets=("the-secret",))
    return WorkerApplication(read, Credentials({}, read.secrets, read.client_tokens), Gate())


async def test_only_the_secret_of_the_components_opens_it() -> None:
    app = application()
    node, _ = await a_main()
    app.join(node)
    shows(node)
    for who in ("client", ""):
        refusal = await asked(app, who)
        assert refusal.status_code == 401
        assert "HANAS_SECRET_FILE" in refusal.json()["detail"]
    assert node.logs[LOG].serving is not None
    answer = await asked(app, "secret")
    assert (answer.status_code, answer.json()) == (202, {"epoch": 2, "to": "one"})
    node.host.cancel_background()


async def test_without_a_secret_only_programs_on_this_machine_may_and_no_page_of_another_site() -> None:
    app = application(guarded=False)
    node, _ = await a_main()
    app.join(node)
    shows(node)
    for address in ("198.18.0.1", "2001:db8::1", ""):
        refusal = await asked(app, "", address=address)
        assert refusal.status_code == 403
        assert "set HANAS_SECRET_FILE everywhere" in refusal.json()["detail"]
    assert (await asked(app, "", headers={"Origin": "http://elsewhere"})).status_code == 403
    assert (await asked(app, "", headers={"Content-Type": "text/plain"})).status_code == 415
    assert node.logs[LOG].serving is not None
    assert (await asked(app, "", address="::1")).status_code == 202
    node.host.cancel_background()


async def test_every_refusal_says_what_to_do() -> None:
    app = application()
    assert (await asked(app, "secret")).status_code == 503, "it has not joined"
    node = a_backup()
    app.join(node)
    assert (await asked(app, "secret")).status_code == 503, "there is no main that serves"
    node.logs[LOG].state.served_epoch = 1
    node.logs[LOG].state.member.detector.heard(node.host.awake, 1, node.logs[LOG].state.member.detector.incarnation)
    elsewhere = await asked(app, "secret")
    assert elsewhere.status_code == 307
    assert elsewhere.headers["location"].endswith("/v1/switchover")
    node, _ = await a_main()
    app = application()
    app.join(node)
    for content, status in (
        (b'{"to":"one"}', 404),
        (b'{"to":"b"}', 409),
        (b"{}", 400),
        (b'{"to":1}', 400),
        (b"\xff", 400),
        (b" " * 1025, 413),
    ):
        answer = await asked(app, "secret", content)
        assert answer.status_code == status, answer.text
        assert answer.json()["detail"]
    node.logs[LOG].tenure.rolling = True
    shows(node)
    later = await asked(app, "secret")
    assert (later.status_code, later.headers["retry-after"]) == (503, "1")
    node.host.cancel_background()
