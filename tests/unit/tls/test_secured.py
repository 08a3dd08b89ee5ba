"""TLS on the ports: what is answered over it, to whom, and what clients can take meanwhile."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from hanas_serving.admission import Admission
from hanas_serving.answers import Answer
from hanas_serving.direct import Exchange
from hanas_serving.http1 import Connection
from hanas_serving.limits import Limits
from hanas_serving.peer import NOBODY, Peer
from hanas_serving.server import HttpEndpoint, bind
from hanas_serving.tls import Tls
from tests.unit.serving.connections import Echo, application
from tests.unit.tls.pki import HOST, Authority
from tests.unit.tls.talking import GET, answer_of, asked, connected, listening
from tests.unit.waiting import AMPLE_SECONDS, until

LARGE = 3 << 20


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


async def test_both_ways_of_a_request_are_answered_on_one_connection(authority: Authority) -> None:
    tls = Tls(authority.files())
    async with listening(tls, direct=Echo()) as port, connected(port, authority.context()) as (reader, writer):
        for _ in range(3):
            writer.write(GET)
            head, body = await answer_of(reader)
            assert (b"way: direct" in head, body) == (True, b"GET /v1/kv/key ")
            writer.write(b"GET /other?a=b HTTP/1.1\r\nHost: x\r\n\r\n")
            head, body = await answer_of(reader)
            assert (b"way: ordinary" in head, body) == (True, b"GET /other ")


async def test_pipelined_requests_and_large_bodies_are_answered_in_order(authority: Authority) -> None:
    tls = Tls(authority.files())
    body = bytes(range(256)) * (LARGE >> 8)
    async with listening(tls, direct=Echo()) as port, connected(port, authority.context()) as (reader, writer):
        writer.write(GET * 20)
        writer.write(b"PUT /v1/kv/large HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        for _ in range(20):
            assert (await answer_of(reader))[1] == b"GET /v1/kv/key "
        assert (await answer_of(reader))[1] == b"PUT /v1/kv/large " + body


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_versions_and_ciphers_are_modern(authority: Authority, version: ssl.TLSVersion) -> None:
    context = authority.context()
    context.minimum_version = context.maximum_version = version
    async with listening(Tls(authority.files())) as port, connected(port, context) as (_, writer):
        name, protocol, _ = writer.get_extra_info("cipher")
        assert protocol in {"TLSv1.2", "TLSv1.3"}
        assert "GCM" in name or "CHACHA20" in name
        assert name.startswith(("TLS_", "ECDHE-"))


@pytest.mark.parametrize(
    ("version", "ciphers"),
    [
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1, "ALL:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "aNULL:@SECLEVEL=0"),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_versions_and_weak_ciphers_are_refused(
    authority: Authority, version: ssl.TLSVersion, ciphers: str
) -> None:
    context = authority.context()
    context.set_ciphers(ciphers)
    context.minimum_version = context.maximum_version = version
    async with listening(Tls(authority.files())) as port:
        with pytest.raises(ssl.SSLError):
            await asked(port, context)


async def test_a_client_that_does_not_trust_the_authority_or_the_name_leaves(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "hanas.serving")
    async with listening(Tls(authority.files())) as port:
        with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
            await asked(port, Authority(tmp_path, "another").context())
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            await asked(port, authority.context(), "elsewhere.test")
        assert await asked(port, authority.context()) == b"GET /v1/kv/key "
    assert "a TLS handshake failed (1 so far): the client left; does it trust" in caplog.text


async def test_where_certificates_are_asked_for_the_request_knows_its_client(
    authority: Authority, tmp_path: Path
) -> None:
    peers: list[Peer | None] = []

    class Knowing(Echo):
        def __call__(self, exchange: Exchange) -> None:
            peers.append(exchange.wire.peer)
            super().__call__(exchange)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        peers.append(scope["peer"])
        await application(scope, receive, send)

    component = authority.component("worker-2", "w2.test")
    async with listening(Tls(authority.files(certified=True)), direct=Knowing()) as port:
        await asked(port, authority.context(component))
        await asked(port, authority.context(authority.client("alice, the client")))
        await asked(port, authority.context())
    async with listening(Tls(authority.files(certified=True)), app=app) as port:
        await asked(port, authority.context(component))
    async with listening(Tls(authority.files())) as port:
        await asked(port, authority.context(component))
    async with listening(Tls(authority.files()), app=app) as port:
        await asked(port, authority.context(component))
    shown = Peer("CN=worker-2", frozenset({"worker-2", "w2.test"}))
    assert peers == [shown, Peer("CN=alice\\, the client"), NOBODY, shown, None]


@pytest.mark.parametrize("strict", [True, False])
async def test_a_certificate_of_another_authority_or_an_expired_one_is_refused(
    authority: Authority, tmp_path: Path, *, strict: bool
) -> None:
    other = Authority(tmp_path, "another")
    context = authority.context(other.component("worker-1"))
    late = authority.context(authority.component("late", days=-0.001))
    async with listening(Tls(authority.files(certified=True)), strict=strict) as port:
        for each in (context, late):
            with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                await asked(port, each)
        assert await asked(port, authority.context(authority.component("worker-3"))) == b"GET /v1/kv/key "


async def test_a_strict_port_speaks_to_nobody_without_a_certificate(authority: Authority) -> None:
    async with listening(Tls(authority.files(certified=True)), strict=True) as port:
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await asked(port, authority.context())


async def test_plain_http_is_told_to_use_https(authority: Authority) -> None:
    async with listening(Tls(authority.files())) as port, connected(port, None) as (reader, writer):
        writer.write(GET)
        head, body = await answer_of(reader)
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"https://" in body
        assert await reader.read() == b""


async def test_tls_at_a_plain_port_is_refused_at_once(authority: Authority) -> None:
    bound = bind(0, "a test")
    endpoint = HttpEndpoint(application, bound)
    await endpoint.start()
    async with asyncio.timeout(AMPLE_SECONDS):
        with pytest.raises(ssl.SSLError):
            await asked(bound.getsockname()[1], authority.context())
    await endpoint.stop()


async def test_who_stays_silent_during_the_handshake_counts_and_is_closed(authority: Authority) -> None:
    admission = Admission[Connection](Limits(connections=2, slow_seconds=0.05))
    async with listening(Tls(authority.files()), admission=admission) as port:
        async with connected(port, None) as (reader, writer), connected(port, None) as (other, _):
            writer.write(b"\x16\x03\x01")  # a begin
            await until(lambda: len(admission.connections) == 2)
            assert await reader.read() == b""
            assert await other.read() == b""
        await until(lambda: not admission.connections)


async def test_the_silent_make_room_for_others(authority: Authority) -> None:
    admission = Admission[Connection](Limits(connections=2))
    async with (
        listening(Tls(authority.files()), admission=admission) as port,
        connected(port, None) as (silent, _),
        connected(port, None) as (other, _),
    ):
        await until(lambda: len(admission.connections) == 2)
        assert await asked(port, authority.context()) == b"GET /v1/kv/key "
        await until(lambda: silent.at_eof() or other.at_eof())
    assert admission.displaced >= 1


async def test_who_finds_no_room_is_told_so_over_tls(authority: Authority) -> None:
    admission, handler = Admission[Connection](Limits(connections=1)), Echo()
    handler.patient = True
    async with (
        listening(Tls(authority.files()), admission=admission, direct=handler) as port,
        connected(port, authority.context()) as (reader, writer),
    ):
        writer.write(GET)
        await until(lambda: len(handler.held) == 1)
        async with connected(port, authority.context()) as (refused, _):
            assert (await answer_of(refused))[0].startswith(b"HTTP/1.1 503 ")
            assert await refused.read() == b""
        handler.let_go()
        assert (await answer_of(reader))[1] == b"GET /v1/kv/key "


class Generous(Echo):
    """Answers with much."""

    def let_go(self) -> None:
        held, self.held = self.held, []
        for exchange in held:
            exchange.answer(Answer(200, b"content-length: %d\r\n" % LARGE, bytes(LARGE)))


async def test_what_a_client_does_not_read_counts_until_it_reads(authority: Authority) -> None:
    admission = Admission[Connection](Limits())
    async with listening(Tls(authority.files()), admission=admission, direct=Generous()) as port:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(
            sock=raw, ssl=authority.context(), server_hostname=HOST, limit=1024
        )
        writer.write(GET * 4)
        await until(lambda: any(connection.blocked() for connection in admission.connections))
        [connection] = admission.connections
        await until(lambda: connection._held.size > LARGE // 4)
        for _ in range(4):
            _head, body = await answer_of(reader)
            assert len(body) == LARGE
        await until(lambda: connection._held.size == 0 and not connection.blocked())
        writer.close()
        await writer.wait_closed()


async def test_who_does_not_read_at_all_is_closed(authority: Authority) -> None:
    admission = Admission[Connection](Limits(slow_seconds=0.05, least_rate=1 << 30))
    async with (
        listening(Tls(authority.files()), admission=admission, direct=Generous()) as port,
        connected(port, authority.context()) as (_, writer),
    ):
        writer.write(GET * 16)
        await until(lambda: bool(admission.connections))
        await until(lambda: not admission.connections)


async def test_a_refusal_is_not_lost_while_the_client_still_sends(authority: Authority) -> None:
    async with listening(Tls(authority.files())) as port, connected(port, authority.context()) as (reader, writer):
        writer.write(b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\n" + b"x: y\r\n" * 50_000)
        head, _ = await answer_of(reader)
        assert head.startswith((b"HTTP/1.1 414 ", b"HTTP/1.1 431 "))  # what of it was parsed first
        assert await reader.read() == b""


async def test_who_closes_its_side_gets_what_it_asked_for(authority: Authority) -> None:
    loop = asyncio.get_running_loop()

    def ask(port: int) -> bytes:
        raw = socket.create_connection(("127.0.0.1", port))
        with authority.context().wrap_socket(raw, server_hostname=HOST) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            socket.socket.shutdown(client, socket.SHUT_WR)  # without an end of TLS
            received = b""
            while part := client.recv(4096):
                received += part
            return received

    async with listening(Tls(authority.files())) as port:
        received = await loop.run_in_executor(None, ask, port)
    assert received.endswith(b"GET / ")


async def test_handshakes_take_turns_one_step_in_each_turn_of_the_event_loop(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    turn, counting = 0, True
    shake: Callable[[ssl.SSLObject], None] = ssl.SSLObject.do_handshake

    def counted(tls: ssl.SSLObject) -> None:
        if tls.server_side:
            steps.append(turn)
        shake(tls)

    def count() -> None:
        nonlocal turn
        turn += 1
        if counting:
            loop.call_soon(count)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(ssl.SSLObject, "do_handshake", counted)
    async with listening(Tls(authority.files())) as port:
        loop.call_soon(count)
        answers = await asyncio.gather(*(asked(port, authority.context()) for _ in range(20)))
        counting = False
    assert answers == [b"GET /v1/kv/key "] * 20
    assert len(steps) >= 40
    assert len(set(steps)) == len(steps)
