"""The operator's own calls over TLS: with which certificate, whom it believes, and when it looks again."""

import base64
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from hanas_operator import kinds, names, reach
from hanas_operator.api import Api
from hanas_operator.reach import DirectReach, HttpInterface, Unreachable
from hanas_operator.tls import trust
from hanas_operator.tls.trust import Trust
from hanas_serving import certificates, tls_files
from hanas_serving.certificates import Pair
from hanas_serving.tls_files import TlsFiles
from tests.unit.operator.api_server import ApiServer, Resource
from tests.unit.operator.making import NAMESPACE, pod

NOW = datetime.now(UTC)
AUTHORITY = certificates.authority("tests", NOW)
OVERSEER = "demo-overseer.shop.svc"


def component(*hosts: str, authority: Pair = AUTHORITY) -> Pair:
    return certificates.component(authority, "demo", hosts, NOW)


def put(server: ApiServer, pair: Pair, authorities: bytes = AUTHORITY.certificate) -> None:
    content = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": authorities}
    data = {key: base64.b64encode(value).decode() for key, value in content.items()}
    server.put(kinds.SECRET, NAMESPACE, "demo-tls", data=data)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[HttpInterface]:
    """A pod with the certificate of an overseer, which demands one."""
    own = component(OVERSEER)
    paths = {"certificate": tmp_path / "crt", "key": tmp_path / "key", "client_trust": tmp_path / "ca"}
    for path, content in zip(paths.values(), (own.certificate, own.key, AUTHORITY.certificate), strict=True):
        path.write_bytes(content)

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        seen: ssl.SSLObject = request.transport.get_extra_info("ssl_object")
        return web.Response(text=str((seen.getpeercert() or {})["subject"]))

    app = web.Application()
    app.router.add_get("/v1/cluster", answer)
    app.router.add_post("/v1/switchover", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    context = tls_files.listening(TlsFiles(**paths), ssl.CERT_REQUIRED)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    found = reach.of_pod(a_pod(address="127.0.0.1"), names.OVERSEER_PORT)
    yield found._replace(url=f"https://127.0.0.1:{runner.addresses[0][1]}")
    await runner.cleanup()


def a_pod(name: str = "demo-overseer-0", component: str = names.OVERSEER, address: str = "") -> Resource:
    made = pod(name, component, podIP=address)
    made["metadata"]["annotations"] = {names.TLS: "demo-tls"}
    return made


async def ask(way: DirectReach, place: HttpInterface) -> str:
    async with way.open(place, "/v1/cluster", "secret") as response:
        return await response.text()


async def test_a_pod_is_called_by_its_address_and_recognised_by_its_name(
    server: ApiServer, api: Api, place: HttpInterface
) -> None:
    put(server, component())
    async with reach.session() as session:
        way = DirectReach(session, Trust(api))
        assert await ask(way, place) == "((('commonName', 'demo'),),)"
        assert (await way.post(place, "/v1/switchover", "secret", b"{}")).status == 200
        with pytest.raises(Unreachable, match="certificate"):
            await ask(way, place._replace(server="demo-other.shop.svc"))


async def test_who_shows_no_certificate_of_the_authority_is_not_believed(
    server: ApiServer, api: Api, place: HttpInterface
) -> None:
    other = certificates.authority("other", NOW)
    put(server, component(), other.certificate)
    async with reach.session() as session:
        way = DirectReach(session, Trust(api))
        with pytest.raises(Unreachable, match="certificate"):
            await ask(way, place)
        put(server, component())
        assert await ask(way, place), "after a call that failed the Secret is read again"


async def test_a_secret_is_read_again_after_a_while_and_not_before(
    server: ApiServer, api: Api, place: HttpInterface, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(server, component())
    known = Trust(api)
    where = (NAMESPACE, "demo-tls")
    first = await known.context(where)
    assert await known.context(where) is first
    monkeypatch.setattr(trust, "_FRESH_SECONDS", -1.0)
    second = await known.context(where)
    assert second is not first
    server.remove(kinds.SECRET, NAMESPACE, "demo-tls")
    assert await known.context(where) is second, "the last one counts until a call fails"
    known.drop(where)
    async with reach.session() as session:
        with pytest.raises(Unreachable, match="there is no Secret demo-tls"):
            await ask(DirectReach(session, known), place)


async def test_what_keeps_the_operator_from_calling_is_told(server: ApiServer, api: Api, place: HttpInterface) -> None:
    put(server, Pair(b"x", b"y"))
    async with reach.session() as session:
        way = DirectReach(session, Trust(api))
        with pytest.raises(Unreachable, match="the Secret demo-tls holds no usable certificate"):
            await ask(way, place)
        server.refusals["get", "secrets"] = (403, "forbidden")
        with pytest.raises(Unreachable, match="the Secret demo-tls with the certificates cannot be read: forbidden"):
            await ask(way, place)


def test_where_pods_with_tls_are() -> None:
    found = reach.of_pod(a_pod("demo-worker-1", names.WORKER, "10.8.0.9"), names.WORKER_PORT)
    assert found == HttpInterface(
        "https://10.8.0.9:3001",
        "/api/v1/namespaces/shop/pods/https:demo-worker-1:3001/proxy",
        "demo-worker-1.demo-workers.shop.svc",
        ("shop", "demo-tls"),
    )
    assert reach.of_pod(a_pod(), names.OVERSEER_PORT).server == OVERSEER
    assert reach.of_pod(a_pod(), names.OVERSEER_PORT).url == ""
