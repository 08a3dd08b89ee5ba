"""What a worker answers that is not the main: the way to it, or, when asked, what it has applied so far."""

import pytest

from tests.integration.cluster import Cluster
from tests.integration.waiting import eventually
from tests.integration.wire import exchange

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("method", ["PUT", "GET", "HEAD", "DELETE"])
@pytest.mark.parametrize(
    "path", ["/v1/kv/a", "/v1/kv/a%2Fb/..%20", "/v1/kv/%F0%9F%94%91?consistency=linearizable", "/v1/kv/a?"]
)
async def test_a_key_is_at_the_main(pair: Cluster, method: str, path: str) -> None:
    if method in {"PUT", "DELETE"}:
        path = path.partition("?")[0]  # writes have no parameters
    backup = await pair.a_backup()
    request = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
    reply = await exchange(pair.url(backup), request)
    assert (reply.status, reply.headers["location"]) == (307, await pair.main_url(path.rstrip("?")))
    assert reply.headers["hanas-epoch"] == "1"
    if method != "HEAD":
        assert reply.problem["detail"]


async def test_the_list_is_at_the_main(pair: Cluster) -> None:
    backup = await pair.a_backup()
    answer = await pair.http.get(pair.url(backup, "/v1/kv?prefix=a%2F&limit=3"))
    assert (answer.status_code, answer.headers["location"]) == (307, await pair.main_url("/v1/kv?prefix=a%2F&limit=3"))


async def test_a_client_that_follows_redirects_needs_to_know_any_worker_only(pair: Cluster) -> None:
    url = pair.kv(await pair.a_backup(), "followed")
    assert (await pair.http.put(url, content=b"1", follow_redirects=True)).status_code == 201
    assert (await pair.http.get(url, follow_redirects=True)).content == b"1"
    assert (await pair.http.delete(url, follow_redirects=True)).status_code == 204


async def test_a_large_value_is_sent_on_its_way_too(pair: Cluster) -> None:
    url = pair.kv(await pair.a_backup(), "large")
    for _ in range(3):
        answer = await pair.http.put(url, content=bytes(8 << 20))
        assert (answer.status_code, answer.headers["location"]) == (307, await pair.main_kv("large"))


async def test_nonsense_is_refused_at_once(pair: Cluster) -> None:
    backup = await pair.a_backup()
    for path in ("/v1/kv/", "/v1/kv/%FF", "/v1/kv?limit=0", "/v1/kv/a?consistency=any"):
        assert (await pair.http.get(pair.url(backup, path))).status_code == 400
    assert (await pair.http.post(pair.kv(backup, "a"))).status_code == 405


async def test_stale_reads_at_a_backup(pair: Cluster) -> None:
    backup = await pair.a_backup()
    url = pair.kv(backup, "stale?consistency=stale")
    assert (await pair.http.get(url)).status_code == 404
    written = await pair.client.put("stale", b"value", content_type="text/plain")
    read = await eventually(lambda: found(pair, url))
    assert read == ("value", f'"{written.version}"', "text/plain", "1")
    part = await pair.http.get(url, headers={"Range": "bytes=1-2"})
    assert (part.status_code, part.text) == (206, "al")
    assert (await pair.http.get(url, headers={"If-None-Match": f'"{written.version}"'})).status_code == 304
    assert (await pair.http.head(url)).headers["etag"] == f'"{written.version}"'
    listed = await pair.http.get(pair.url(backup, "/v1/kv"), params={"prefix": "stale", "consistency": "stale"})
    assert listed.json()["keys"] == [{"key": "stale", "version": written.version, "size": 5}]
    # At the main such a read is only not checked against the folder.
    assert (await pair.http.get(await pair.main_kv("stale?consistency=stale"))).text == "value"
    assert (await pair.client.get("stale", stale=True)).value == b"value"


async def found(cluster: Cluster, url: str) -> tuple[str, str, str, str] | None:
    answer = await cluster.http.get(url)
    if answer.status_code != 200:
        return None
    headers = answer.headers
    return answer.text, headers["etag"], headers["content-type"], headers["hanas-epoch"]


async def test_a_write_is_never_stale(pair: Cluster) -> None:
    answer = await pair.http.put(pair.kv(await pair.a_backup(), "w?consistency=stale"), content=b"x")
    assert answer.status_code == 400
    assert (await pair.http.put(pair.kv(await pair.a_backup(), "w"), content=b"x")).status_code == 307
