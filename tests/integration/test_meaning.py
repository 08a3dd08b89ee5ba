"""What a request says is done or refused, never passed over: headers, lists in several lines, trailers, parameters."""

import asyncio
import base64
import hashlib
import re

import pytest

from tests.integration.cluster import Cluster
from tests.integration.waiting import PATIENCE_SECONDS
from tests.integration.wire import Reply, exchange, read_reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

INERT = {"x-content-type-options": "nosniff", "content-security-policy": "sandbox; default-src 'none'"}
WAYS = ["directly", "in chunks"]


def request(method: str, target: str, *headers: str, body: bytes = b"", way: str = "directly") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: x", *headers]
    if way == "in chunks":
        lines.append("Transfer-Encoding: chunked")
        body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
    else:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def value_of(cluster: Cluster, key: str) -> bytes:
    return (await cluster.client.get(key)).value


# ---------------------------------------------------------------------- headers that change the meaning of a write

REFUSED = [
    ("PUT", "Content-Range: bytes 8-15/16", 400),
    ("PUT", "Content-Range: bytes */*", 400),
    ("PUT", "Range: bytes=8-15", 400),
    ("PUT", 'If-Range: "1-1"', 400),
    ("PUT", "Content-Encoding: gzip", 415),
    ("PUT", "Content-Encoding: gzip, identity", 415),
    ("PUT", "If-Unmodified-Since: Sat, 29 Oct 1994 19:43:31 GMT", 400),
    ("PUT", "If-Modified-Since: Sat, 29 Oct 1994 19:43:31 GMT", 400),
    ("PUT", "If: (<urn:uuid:1>)", 400),
    ("PUT", "Content-MD5: XUFAKrxLKna5cZ2REBfFkg==", 400),
    ("PUT", "Content-Digest: sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:", 400),
    ("PUT", "Expect: something", 417),
    ("PUT", "X-HTTP-Method-Override: DELETE", 400),
    ("PUT", "X-HTTP-Method-Override: PATCH", 400),
    ("PUT", "Transfer-Encoding: gzip, chunked", 501),
    ("PUT", "Sec-Fetch-Site: cross-site", 403),
    ("PUT", "Origin: http://evil.example", 403),
    ("PUT", "Accept-Language: en\r\nHost: evil.example", 400),
    ("DELETE", "Content-Range: bytes 8-15/16", 400),
    ("DELETE", "Range: bytes=0-1", 400),
    ("DELETE", "If-Unmodified-Since: Sat, 29 Oct 1994 19:43:31 GMT", 400),
    ("DELETE", "X-HTTP-Method-Override: GET", 400),
    ("DELETE", "Origin: null", 403),
    ("POST", "X-HTTP-Method-Override: PUT", 400),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("method", "header", "status"), REFUSED, ids=lambda part: str(part)[:30])
async def test_a_write_that_means_something_else_is_refused(
    alone: Cluster, method: str, header: str, status: int, way: str
) -> None:
    await alone.client.put("meaning", b"before")
    if "gzip, chunked" in header and way == "in chunks":
        way = "directly"
        header = "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked"
    sent = request(method, "/v1/kv/meaning", header, body=b"after", way=way)
    if status == 501:
        sent = re.sub(rb"Content-Length: \d+\r\n", b"", sent)
    reply = await exchange(await alone.main_url(), sent)
    assert (reply.status, reply.problem["status"]) == (status, status), reply
    assert reply.problem["detail"]
    assert await value_of(alone, "meaning") == b"before"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "header",
    [
        "Content-Encoding: identity",
        "Prefer: return=minimal",
        "Content-MD5: of the value",
        "If-Match: *\r\nIf-Unmodified-Since: Sat, 29 Oct 1994 19:43:31 GMT",
        "Sec-Fetch-Site: same-origin",
        "Origin: http://x",
        "Accept-Language: en",
        "X-HTTP-Method-Override: PUT",
        "Expect: 100-continue",
    ],
)
async def test_a_write_that_means_what_it_says_is_done(alone: Cluster, header: str, way: str) -> None:
    await alone.client.put("meaning", b"before")
    header = header.replace("of the value", md5(b"after"))
    address = (await alone.main_url()).removeprefix("http://").split(":")
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection(address[0], int(address[1]))
        writer.write(request("PUT", "/v1/kv/meaning", header, body=b"after", way=way))
        reply = await read_reply(reader)
        if reply.status == 100:
            reply = await read_reply(reader)
        writer.close()
    assert reply.status == 204, reply
    assert await value_of(alone, "meaning") == b"after"


def md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


@pytest.mark.parametrize("method", ["POST", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
async def test_methods_that_a_key_does_not_take(alone: Cluster, method: str) -> None:
    await alone.client.put("meaning", b"before")
    reply = await exchange(await alone.main_url(), request(method, "/v1/kv/meaning", body=b"after"))
    assert (reply.status, reply.headers["allow"]) == (405, "DELETE, GET, HEAD, PUT")
    assert await value_of(alone, "meaning") == b"before"


async def test_a_digest_of_a_large_value(alone: Cluster) -> None:
    content = bytes(range(256)) * 4096 * 3
    url = await alone.main_kv("large")
    wrong = await alone.http.put(url, content=content[:-1] + b"x", headers={"Content-MD5": md5(content)})
    assert (wrong.status_code, "nothing was written" in wrong.json()["detail"]) == (400, True)
    assert (await alone.http.get(url)).status_code == 404
    assert (await alone.http.put(url, content=content, headers={"Content-MD5": md5(content)})).status_code == 201
    await alone.client.delete("large")


# ---------------------------------------------------------------------- lists in several lines, and what comes once


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("lines", [["*", '"9-9"'], ['"9-9"', "*"], ["*", "*"]])
async def test_a_condition_in_two_lines_holds_as_one(alone: Cluster, lines: list[str], way: str) -> None:
    await alone.client.put("twice", b"before")
    conditions = [f"If-None-Match: {line}" for line in lines]
    for _ in range(3):  # the headers are known from the second time on
        sent = request("PUT", "/v1/kv/twice", *conditions, body=b"after", way=way)
        assert (await exchange(await alone.main_url(), sent)).status == 412
    assert await value_of(alone, "twice") == b"before"


@pytest.mark.parametrize("way", WAYS)
async def test_one_version_of_two_lines_is_enough(alone: Cluster, way: str) -> None:
    version = (await alone.client.put("twice", b"before")).version
    for lines, status in ((['"9-9"', '"8-8"'], 412), (['"9-9"', f'"{version}"'], 204)):
        conditions = [f"If-Match: {line}" for line in lines]
        sent = request("PUT", "/v1/kv/twice", *conditions, body=b"after", way=way)
        assert (await exchange(await alone.main_url(), sent)).status == status


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("method", "name", "values"),
    [
        ("PUT", "Idempotency-Key", ("one", "two")),
        ("PUT", "Content-Type", ("text/plain", "text/html")),
        ("PUT", "Authorization", ("Bearer one", "Bearer two")),
        ("PUT", "Host", ("x", "x")),
        ("PUT", "Expect", ("100-continue", "100-continue")),
        ("DELETE", "Idempotency-Key", ("one", "one")),
        ("GET", "Range", ("bytes=0-0", "bytes=1-1")),
        ("GET", "If-Range", ('"1-1"', '"1-2"')),
        ("GET", "Host", ("y", "z")),
    ],
)
async def test_what_has_one_value_comes_once(
    alone: Cluster, method: str, name: str, values: tuple[str, str], way: str
) -> None:
    await alone.client.put("once", b"before")
    headers = [f"{name}: {value}" for value in values]
    for _ in range(3):
        reply = await exchange(await alone.main_url(), request(method, "/v1/kv/once", *headers, body=b"a", way=way))
        assert (reply.status, reply.problem["detail"]) == (400, f"{name} came twice; nothing was done; send it once")
    assert await value_of(alone, "once") == b"before"


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("PUT", "/v1/kv/query?cas=0"),
        ("PUT", "/v1/kv/query?consistency=stale"),
        ("DELETE", "/v1/kv/query?recurse"),
        ("GET", "/v1/kv/query?recurse=true"),
        ("HEAD", "/v1/kv/query?raw"),
        ("GET", "/v1/kv/query?consistency=stale&consistency=linearizable"),
        ("GET", "/v1/kv?limit=1&limit=2"),
        ("GET", "/v1/kv?keys"),
        ("GET", "/v1/status?pretty"),
    ],
)
async def test_parameters_that_are_not_known_or_come_twice(alone: Cluster, method: str, target: str) -> None:
    await alone.client.put("query", b"before")
    reply = await exchange(await alone.main_url(), request(method, target))
    assert reply.status == 400
    assert method == "HEAD" or "parameter" in reply.problem["detail"]
    assert await value_of(alone, "query") == b"before"


async def test_the_overseers_calls_take_no_parameters(alone: Cluster) -> None:
    for path in ("main", "pool", "cluster", "epochs", "takeovers", "alerts", "events"):
        assert (await alone.http.get(f"{alone.lab.overseer_url}/v1/{path}?x=y")).status_code == 400
    assert (await alone.http.get(f"{alone.lab.overseer_url}/readyz?x=y")).status_code == 200


# ---------------------------------------------------------------------- trailers


async def chunked(base: str, target: str, trailers: list[str], *, apart: bool) -> Reply:
    """PUT `after` in chunks, with trailers in the same packet as the rest, or in a later one."""
    head = f"PUT {target} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nafter\r\n0\r\n".encode()
    rest = "".join(f"{line}\r\n" for line in [*trailers, ""]).encode()
    host, _, port = base.removeprefix("http://").partition(":")
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection(host, int(port))
        if apart:
            writer.write(head)
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.write(rest)
        else:
            writer.write(head + rest)
        reply = await read_reply(reader)
        writer.close()
    return reply


@pytest.mark.parametrize("apart", [False, True], ids=["one packet", "two"])
@pytest.mark.parametrize(
    "trailer",
    [
        "If-None-Match: *",
        'If-Match: "9-9"',
        "Content-Type: text/html",
        "Idempotency-Key: of-an-earlier-write",
        "Content-Range: bytes 0-1/2",
        "Content-Encoding: gzip",
        "Content-MD5: XUFAKrxLKna5cZ2REBfFkg==",
        "Origin: http://evil.example",
        "Host: evil.example",
        "Expect: something",
    ],
)
async def test_a_trailer_means_nothing(alone: Cluster, trailer: str, apart: bool) -> None:
    headers = {"Idempotency-Key": "of-an-earlier-write", "Content-Type": "text/plain"}
    assert (await alone.http.put(await alone.main_kv("other"), content=b"x", headers=headers)).status_code in {201, 204}
    await alone.client.put("trailer", b"before")
    reply = await chunked(await alone.main_url(), "/v1/kv/trailer", [trailer], apart=apart)
    assert reply.status == 204
    answer = await alone.http.get(await alone.main_kv("trailer"))
    assert (answer.content, answer.headers["content-type"]) == (b"after", "application/octet-stream")


@pytest.mark.parametrize("apart", [False, True], ids=["one packet", "two"])
@pytest.mark.parametrize("trailer", ["Content-Length: 1", "Transfer-Encoding: gzip", "no colon"])
async def test_a_trailer_that_none_may_be(alone: Cluster, trailer: str, apart: bool) -> None:
    """The request has no end that is sure, so it is not done, or the trailer means nothing."""
    await alone.client.put("trailer", b"before")
    reply = await chunked(await alone.main_url(), "/v1/kv/trailer", [trailer], apart=apart)
    expected = b"before" if reply.status == 400 else b"after"
    assert reply.status in {204, 400}
    assert await value_of(alone, "trailer") == expected


# ---------------------------------------------------------------------- what is malformed, and what only looks so


@pytest.mark.parametrize("unit", ["items=0-3", "bytes=3-1", "bytes=a-b", "bytes", "=", "bytes=-", "seconds=1-"])
async def test_a_range_that_is_none_is_passed_over(alone: Cluster, unit: str) -> None:
    await alone.client.put("range", b"0123456789")
    answer = await alone.http.get(await alone.main_kv("range"), headers={"Range": unit})
    assert (answer.status_code, answer.content) == (200, b"0123456789")
    answer = await alone.http.get(await alone.main_kv("range"), headers={"Range": "bytes=10-"})
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */10")


async def test_numbers_with_thousands_of_digits(alone: Cluster) -> None:
    zeros = 5000 * "0"
    await alone.client.put("digits", b"0123456789")
    assert (await alone.http.get(await alone.main_url(f"/v1/kv?limit={zeros}1"))).status_code == 200
    assert (await alone.http.get(await alone.main_url(f"/v1/kv?limit=1{zeros}"))).status_code == 400
    answer = await alone.http.get(await alone.main_kv("digits"), headers={"Range": f"bytes={zeros}1-{zeros}2"})
    assert (answer.status_code, answer.content) == (206, b"12")
    for base in (await alone.main_url("/v1/kv/digits"), f"{alone.lab.overseer_url}/v1/claim"):
        method = "PUT" if "kv" in base else "POST"
        head = f"{method} {base[base.index('/', 8) :]} HTTP/1.1\r\nHost: x\r\nContent-Length: {zeros}1\r\n\r\nx"
        assert (await exchange(base[: base.index("/", 8)], head.encode())).problem["status"] in {204, 400, 415}


async def test_a_path_that_is_not_percent_encoded(alone: Cluster) -> None:
    for base in (await alone.main_url(), alone.lab.overseer_url):
        for target in ("/v1/kv/Straße", "/v1/kv?prefix=ß"):
            reply = await exchange(base, f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert reply.status == 400
            assert "percent-encode" in reply.problem["detail"]


async def test_transfer_encodings_that_are_not_known(alone: Cluster) -> None:
    [worker] = alone.lab.status()["workers"]
    for base in (await alone.main_url(), alone.lab.overseer_url, f"http://127.0.0.1:{worker['linkPort']}"):
        for encoding in ("gzip, chunked", "gzip", "chunked, chunked", "identity"):
            head = f"POST /v1/claim HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {encoding}\r\n\r\n0\r\n\r\n"
            reply = await exchange(base, head.encode())
            assert reply.problem["status"] in {400, 501}, (base, encoding)
            assert encoding != "gzip, chunked" or reply.status == 501


# ---------------------------------------------------------------------- browsers


async def test_nothing_that_is_stored_runs_in_a_browser(alone: Cluster) -> None:
    html = {"Content-Type": "text/html"}
    etag = (await alone.http.put(await alone.main_kv("page"), content=b"<script>", headers=html)).headers["etag"]
    await alone.http.put(await alone.main_kv("long-page"), content=b"<script>" * 20_000, headers=html)
    url = await alone.main_kv("page")
    for status, answer in (
        (200, await alone.http.get(url)),
        (200, await alone.http.get(f"{url}?consistency=stale")),
        (200, await alone.http.get(await alone.main_kv("long-page"))),
        (206, await alone.http.get(url, headers={"Range": "bytes=0-3"})),
        (304, await alone.http.get(url, headers={"If-None-Match": etag})),
        (200, await alone.http.head(url)),
        (404, await alone.http.get(await alone.main_kv("none"))),
        (200, await alone.http.get(await alone.main_url("/v1/kv"))),
        (200, await alone.http.get(await alone.main_url("/v1/status"))),
        (200, await alone.http.get(await alone.main_url("/metrics"))),
        (404, await alone.http.get(await alone.main_url("/<script>"))),
        (200, await alone.http.get(f"{alone.lab.overseer_url}/v1/cluster")),
        (404, await alone.http.get(f"{alone.lab.overseer_url}/<script>")),
        (400, await alone.http.get(await alone.main_url("/v1/kv?x"))),
    ):
        assert answer.status_code == status
        assert {name: answer.headers.get(name) for name in INERT} == INERT, answer.url
    page = (await alone.http.get(alone.lab.overseer_url)).headers
    assert page["x-content-type-options"] == "nosniff"
    assert "script-src" in page["content-security-policy"]


async def test_a_page_that_points_its_name_here_gets_nothing(alone: Cluster) -> None:
    headers = {"Host": "evil.example:3001", "Accept-Language": "en"}
    await alone.client.put("private", b"secret")
    for url in (
        await alone.main_kv("private"),
        await alone.main_url("/v1/kv"),
        await alone.main_url("/v1/status"),
        f"{alone.lab.overseer_url}/",
        f"{alone.lab.overseer_url}/v1/cluster",
        f"{alone.lab.overseer_url}/v1/events",
    ):
        for _ in range(2):
            answer = await alone.http.get(url, headers=headers)
            assert answer.status_code == 421
            assert "HANAS_HOSTS" in answer.json()["detail"]
        assert (
            url.endswith("events") or (await alone.http.get(url, headers={"Accept-Language": "en"})).status_code == 200
        )
    for method in ("PUT", "DELETE"):
        assert (await alone.http.request(method, await alone.main_kv("private"), headers=headers)).status_code == 421
    forget = f"{alone.lab.overseer_url}/v1/pool/worker-1"
    assert (await alone.http.delete(forget, headers=headers)).status_code == 421
    assert await value_of(alone, "private") == b"secret"
    # What is no browser may use any name.
    assert (await alone.http.get(await alone.main_kv("private"), headers={"Host": "a.example"})).content == b"secret"


async def test_a_form_on_a_page_of_another_site_changes_nothing(alone: Cluster) -> None:
    epoch = await alone.epoch()
    body = b'{"member":"m","incarnation":"1111111111111111","folderId":"%b","x":"="}' % (16 * b"1")
    for call in ("claim", "takeover", "report"):
        url = f"{alone.lab.overseer_url}/v1/{call}"
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
            answer = await alone.http.post(url, content=body, headers={"Content-Type": kind} if kind else {})
            assert answer.status_code == 415
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = await alone.http.post(url, json={}, headers=headers)
            assert answer.status_code == 403
    [worker] = alone.lab.status()["workers"]
    link = f"http://127.0.0.1:{worker['linkPort']}/v1/keepalive"
    assert (await alone.http.post(link, content=body)).status_code == 415
    assert (await alone.http.post(link, json={}, headers={"Origin": "null"})).status_code == 403
    assert await alone.epoch() == epoch


# ---------------------------------------------------------------------- what was refused is counted


async def test_refusals_are_counted_and_logged(alone: Cluster) -> None:
    """After all the tests above."""

    async def counted(url: str) -> float:
        metrics = (await alone.http.get(f"{url}/metrics")).text
        return sum(float(count) for count in re.findall(r'hanas_http_errors_total\{status="400"\} (\S+)', metrics))

    for url in (await alone.main_url("/v1/kv/a"), f"{alone.lab.overseer_url}/v1/main"):
        base = url[: url.index("/v1")]
        before = await counted(base)
        for _ in range(5):
            assert (await alone.http.get(f"{url}?secret-value")).status_code == 400
        assert await counted(base) == before + 5
    log = alone.lab.log_of(await alone.main()).read_text()
    lines = re.findall(r"WARNING answered 400 Bad Request \d+ times .* the last time to 127\.0\.0\.1", log)
    assert 1 <= len(lines) <= 5
    assert "secret-value" not in log
