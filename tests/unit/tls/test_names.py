"""Who may do what by the certificate that is shown: at the overseer, at the link, and with the keys."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from hanas_serving import peer as peers
from hanas_serving import principals
from hanas_serving.answers import Answer
from hanas_serving.callers import Callers
from hanas_serving.clients import decode
from hanas_serving.direct import Exchange
from hanas_serving.gate import Caller, Gate
from hanas_serving.identity import Identified
from hanas_serving.peer import NOBODY, Peer
from hanas_serving.principals import ON_KEYS, Action, Standing
from hanas_serving.problems import Problem
from hanas_serving.server import HttpEndpoint, bind
from hanas_serving.tls import Tls
from hanas_serving.tls_files import TlsFiles
from hanas_worker.faces.http.keys import Keys
from hanas_worker.host.peers import LinkPeer
from hanas_worker.neighbours.authenticity import Verifier
from hanas_worker.neighbours.keepalives import Epochs, KeepAlive, Sender
from hanas_worker.neighbours.outbound import HttpOutbound
from tests.unit.overseer.stage import Overseer, Stage, check_problem, running
from tests.unit.tls.pki import Authority
from tests.unit.waiting import AMPLE_SECONDS, until
from tests.unit.worker.test_keepalives import DOCUMENT, FOLDER_ID, KEEPALIVE, KEY, Listener, proven

COMPONENT = Peer("CN=worker-1", frozenset({"worker-1", "localhost"}))
CLIENT = Peer("CN=alice")
SECRET = b"Bearer secret"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


def test_a_certificate_names_its_holder() -> None:
    shown = {
        "subject": ((("countryName", "NL"),), (("organizationName", 'A, "B"'), ("odd", "x")), (("commonName", "w+1"),)),
        "subjectAltName": (("DNS", "w1"), ("IP Address", "10.0.0.1"), ("email", "a@b")),
    }
    expected = Peer('CN=w\\+1,odd=x+O=A\\, \\"B\\",C=NL', frozenset({"w1", "10.0.0.1"}))
    assert peers.of_certificate(shown) == expected
    assert peers.of_certificate(None) is peers.of_certificate({}) is NOBODY
    assert [each.shown for each in (expected, CLIENT, NOBODY)] == [True, True, False]


@pytest.mark.parametrize(
    ("authorization", "tokens", "peer", "reads", "operates"),
    [
        (None, (), None, True, True),
        (None, ("secret",), None, False, False),
        (SECRET, ("secret",), None, True, True),
        (None, (), COMPONENT, True, True),
        (None, ("secret",), COMPONENT, True, True),
        (None, ("secret",), CLIENT, True, False),
        (None, (), NOBODY, False, False),
        (None, ("secret",), NOBODY, False, False),
        (SECRET, ("secret",), NOBODY, True, False),
        (SECRET, ("secret",), CLIENT, True, False),
        (b"Bearer wrong", ("secret",), NOBODY, False, False),
    ],
)
def test_a_certificate_takes_the_place_of_a_token_and_a_components_that_of_the_secret(
    authorization: bytes | None, tokens: tuple[str, ...], peer: Peer | None, *, reads: bool, operates: bool
) -> None:
    principal = Callers(tokens, tokens, certified=peer is not None).identify(authorization, peer)
    assert principals.may(principal, Action.READ) is reads
    assert principals.may(principal, Action.OPERATE) is operates


def test_principals_have_names() -> None:
    callers = Callers((), ("secret",), certified=True)
    assert callers.identify(None, CLIENT).name == "CN=alice"
    assert callers.identify(None, Peer("", frozenset({"w", "v"}))).name == "v w"
    assert callers.identify(SECRET, NOBODY) is callers.identify(SECRET, CLIENT)
    assert callers.identify(SECRET, CLIENT).standing is Standing.BEARER
    assert callers.identify(SECRET, COMPONENT).name == "CN=worker-1"
    assert callers.identify(None, NOBODY) is callers.stranger


LISTED = decode(
    "principals: ["
    "{name: alice, certificates: [CN=alice], grants: [{prefix: a/, rights: [write]}]},"
    f"{{name: eye, tokens: [{hashlib.sha256(b'eye').hexdigest()}], grants: [{{rights: [observe]}}]}}]"
)
STATE = {Action.OBSERVE, Action.LOCATE}


def rights(callers: Callers, peer: Peer, authorization: bytes | None = None) -> set[Action]:
    principal = callers.identify(authorization, peer)
    return {action for action in Action if principals.may(principal, action, b"a/1")}


def test_without_a_file_of_clients_a_certificate_is_worth_a_token() -> None:
    callers = Callers(certified=True)
    assert rights(callers, CLIENT) == ON_KEYS | STATE
    assert rights(callers, COMPONENT) == set(Action)
    assert rights(callers, NOBODY) == set()


def test_with_a_file_of_clients_a_certificate_permits_what_that_grants() -> None:
    callers = Callers(("s",), ("t",), LISTED, certified=True)
    assert rights(callers, CLIENT) == {Action.WRITE, Action.LOCATE}
    assert not principals.may(callers.identify(None, CLIENT), Action.WRITE, b"b/1")
    assert rights(callers, Peer("CN=bob")) == rights(callers, NOBODY) == set()
    assert rights(callers, COMPONENT) == STATE | {Action.OPERATE, Action.ADMIN}
    assert rights(callers, Peer("CN=alice", frozenset({"worker-1"}))) == {Action.WRITE, Action.LOCATE}


def test_a_components_certificate_counts_before_a_token_and_that_before_a_clients() -> None:
    callers = Callers(("s",), ("t",), LISTED, certified=True)
    for peer in (CLIENT, Peer("CN=bob"), NOBODY):
        assert rights(callers, peer, b"Bearer eye") == STATE
        assert rights(callers, peer, b"Bearer t") == ON_KEYS | STATE
        assert rights(callers, peer, b"Bearer s") == STATE  # the secret is not enough
        assert rights(callers, peer, b"Bearer wrong") == rights(callers, peer)
    for token in (b"Bearer eye", b"Bearer s", b"Bearer wrong"):
        assert rights(callers, COMPONENT, token) == STATE | {Action.OPERATE, Action.ADMIN}


@pytest.mark.parametrize(
    ("peer", "action", "words"),
    [
        (CLIENT, Action.READ, "alice has no right to read this"),
        (Peer("CN=bob"), Action.READ, "CN=bob has no right to read this"),
        (Peer("CN=bob"), Action.ADMIN, "CN=bob has no right to admin this"),
        (COMPONENT, Action.WRITE, "CN=worker-1 has no right to write this"),
        (CLIENT, Action.OPERATE, "alice has no right to operate this"),
    ],
)
async def test_who_is_known_by_a_certificate_and_has_not_the_right_is_told_so(
    peer: Peer, action: Action, words: str
) -> None:
    with pytest.raises(Problem) as refusal:
        Gate().admit(Caller({}, "10.0.0.1", peer), Callers(clients=LISTED, certified=True), action, needed)
    assert refusal.value.status == 403
    assert refusal.value.detail.startswith(f"{words}; nothing was done: HANAS_CLIENTS_FILE")


def needed(_: bytes | None) -> Problem:
    return Problem(401, "a token is needed", {"www-authenticate": "Bearer"})


@pytest.mark.parametrize(
    ("action", "tokens", "words"),
    [
        (Action.READ, (), "show a certificate that an authority in HANAS_TLS_CLIENT_CA has signed"),
        (
            Action.READ,
            ("t",),
            "show a certificate that an authority in HANAS_TLS_CLIENT_CA has signed; or: a token is needed",
        ),
        (
            Action.OPERATE,
            ("t",),
            "show the certificate of a component, which has its names: set HANAS_TLS_CERT",
        ),
    ],
)
async def test_who_shows_none_is_told_what_is_asked_for(action: Action, tokens: tuple[str, ...], words: str) -> None:
    with pytest.raises(Problem) as refusal:
        Gate().admit(Caller({}, "10.0.0.1", NOBODY), Callers(("s",), tokens, certified=True), action, needed)
    assert (refusal.value.status, refusal.value.detail) == (401, words)


async def test_the_direct_way_asks_for_certificates_too() -> None:
    class Call:
        address = "10.0.0.1"

        def __init__(self, peer: Peer | None) -> None:
            self.peer = peer
            self.answers: list[Answer] = []

        def answer(self, exchange: Exchange, answer: Answer) -> None:
            del exchange
            self.answers.append(answer)

    def statuses(callers: Callers, method: bytes, *peers: Peer) -> list[int]:
        keys, calls = Keys(callers, 100, Gate()), [Call(peer) for peer in peers]
        for call in calls:
            keys(Exchange(call, method, b"/v1/kv/a/1", [(b"host", b"x")], more_body=False))
        return [answer.status for call in calls for answer in call.answers]

    # who is let in comes to a worker that has not joined
    assert statuses(Callers(certified=True), b"GET", NOBODY, CLIENT) == [401, 503]
    listed = Callers(clients=LISTED, certified=True)
    assert statuses(listed, b"DELETE", NOBODY, CLIENT, Peer("CN=bob"), COMPONENT) == [401, 403, 403, 403]
    assert statuses(listed, b"PUT", CLIENT) == [503]


async def test_the_folder_is_named_to_those_only_who_show_a_certificate() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    for peer, named in ((None, True), (CLIENT, True), (NOBODY, False)):
        callers = Callers(certified=peer is not None)
        async with client(Shown(Identified(app, FOLDER_ID, callers), peer)) as http:
            assert ("hanas-folder" in (await http.get("/")).headers) is named


class Shown:
    """An application whose clients have shown a certificate."""

    def __init__(self, app: object, peer: Peer | None) -> None:
        self._app = app
        self.peer = peer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "peer": self.peer}, receive, send)  # type: ignore[operator]


def client(app: Shown, headers: Mapping[str, str] | None = None) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here", headers=headers)


@asynccontextmanager
async def shown_to(overseer: Overseer, peer: Peer, token: str = "") -> AsyncIterator[httpx.AsyncClient]:
    async with client(Shown(overseer.app, peer), {"authorization": f"Bearer {token}"} if token else {}) as http:
        yield http


async def test_at_the_overseer_components_act_in_their_own_names_only(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    other = Peer("CN=worker-2", frozenset({"worker-2", "localhost"}))
    report = {"member": "worker-1", "incarnation": "1" * 32, "folderId": stage.folder_id, "alerts": []}
    calls = [
        ("POST", "/v1/claim", stage.arrival(1)),
        ("POST", "/v1/report", report),
        ("POST", "/v1/takeover", stage.challenge(1, 1, 1)),
    ]
    async with running(stage, secrets=["secret"], certified=True) as overseer:
        for method, path, body in calls:
            async with shown_to(overseer, other) as http:
                detail = check_problem(await http.request(method, path, json=body), 403)["detail"]
                assert "is not that of worker-1, but of localhost, worker-2: it must have WORKER_ID" in detail
            for peer in (CLIENT, NOBODY):
                async with shown_to(overseer, peer, "secret") as http:
                    check_problem(await http.request(method, path, json=body), 401)
        async with shown_to(overseer, COMPONENT) as http:
            assert (await http.post("/v1/claim", json=stage.arrival(1))).status_code == 200
            assert (await http.post("/v1/report", json=report)).status_code == 204
        for peer, status in ((CLIENT, 401), (NOBODY, 401), (other, 404)):
            async with shown_to(overseer, peer, "secret") as http:
                assert (await http.delete("/v1/pool/nobody")).status_code == status
        for peer, status, removed in ((CLIENT, 200, 403), (NOBODY, 401, 401)):
            async with shown_to(overseer, peer) as http:
                assert (await http.get("/v1/cluster")).status_code == status
                assert (await http.delete("/v1/pool/nobody")).status_code == removed
                assert (await http.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("peer", "status"), [(COMPONENT, 200), (Peer("CN=b", frozenset({"b"})), 403), (CLIENT, 401), (NOBODY, 401)]
)
async def test_keepalives_come_from_the_member_that_they_name(peer: Peer, status: int) -> None:
    listener = Listener()
    app = listener.app("secret", certified=True)
    async with client(Shown(app, peer), {"authorization": "Bearer secret"}) as http:
        headers = {"Content-Type": "application/json", **proven(DOCUMENT)}
        answer = await http.post("/v1/keepalive", content=DOCUMENT, headers=headers)
    assert answer.status_code == status
    assert listener.heard == ([KEEPALIVE] if status == 200 else [])


@asynccontextmanager
async def listening(tls: Tls, listener: Listener, answered: list[str] | None = None) -> AsyncIterator[str]:
    """Serve a link port; yield its URL. ``answered`` gets the paths."""
    bound, link = bind(0, "a test"), listener.app(certified=tls.files.certified)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await link(scope, receive, send)
        if answered is not None:
            answered.append(scope["path"])

    endpoint = HttpEndpoint(app, bound, tls=tls.strict)
    await endpoint.start()
    try:
        async with asyncio.timeout(AMPLE_SECONDS):
            yield f"https://localhost:{bound.getsockname()[1]}"
    finally:
        await endpoint.stop()


async def kept_alive(url: str, files: TlsFiles, member: str = "worker-1") -> Epochs:
    """Send a keep-alive of worker-1 as ``member``, and return what was answered."""
    told: list[Epochs] = []

    def answered(_: KeepAlive, epochs: Epochs) -> None:
        told.append(epochs)

    outbound = HttpOutbound(member, (), Tls(files).calling)
    sender = Sender(outbound, AMPLE_SECONDS, 0.05, answered)
    sender.send(KEEPALIVE, {LinkPeer(url, KEY): True})
    await until(lambda: bool(told))
    sender.close()
    await outbound.close()
    return told[0]


async def test_only_the_right_certificate_carries_a_keepalive(authority: Authority, tmp_path: Path) -> None:
    listener, another = Listener(), Authority(tmp_path, "another")
    theirs = another.files("worker-1")
    foreign = TlsFiles(certificate=theirs.certificate, key=theirs.key, trust=authority.trust)
    elsewhere = authority.component("elsewhere", "elsewhere.test")
    unnamed = TlsFiles(certificate=elsewhere[0], key=elsewhere[1], trust=authority.trust, client_trust=authority.trust)
    async with listening(Tls(authority.files("worker-2", certified=True)), listener) as url:
        assert await kept_alive(url, authority.files("worker-1")) == (3,)
        assert await kept_alive(url, TlsFiles(trust=authority.trust)) == ()
        assert await kept_alive(url, foreign) == ()
        assert await kept_alive(url, authority.files("worker-3")) == ()
        assert await kept_alive(url, theirs) == ()  # it does not trust this side
    assert len(listener.heard) == 1
    async with listening(Tls(unnamed), listener) as url:
        assert await kept_alive(url, authority.files("worker-1")) == ()  # localhost is not its name
    assert len(listener.heard) == 1


async def test_who_has_no_certificate_yet_speaks_to_those_who_ask_for_none(authority: Authority) -> None:
    """TLS is turned on in one process after the other."""
    listener = Listener()
    async with listening(Tls(authority.files("worker-2")), listener) as url:
        assert await kept_alive(url, TlsFiles(trust=authority.trust)) == (3,)
        assert await kept_alive(url, authority.files("worker-1")) == (3,)


async def test_a_lifeline_is_held_over_tls_by_the_member_that_it_names(authority: Authority) -> None:
    answered: list[str] = []
    outbounds = [HttpOutbound(name, (), Tls(authority.files("b")).calling) for name in ("b", "c")]
    async with listening(Tls(authority.files("worker-2", certified=True)), Listener(), answered) as url:
        headers = [{"HANas-Mac": Verifier(KEY, 1, lambda: 0).prove("lifeline", name)} for name in (b"b", b"c")]
        with pytest.raises(ConnectionError, match="403"):
            await outbounds[1].until_closed(f"{url}/v1/lifeline", AMPLE_SECONDS, headers[1])
        holding = asyncio.create_task(outbounds[0].until_closed(f"{url}/v1/lifeline", AMPLE_SECONDS, headers[0]))
        await until(lambda: len(answered) == 2)
        assert not holding.done()
    await holding
    for outbound in outbounds:
        await outbound.close()
