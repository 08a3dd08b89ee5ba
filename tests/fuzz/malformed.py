"""Requests that no library would send, as bytes, and how the answers to them are read."""

import asyncio
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
from hypothesis import strategies as st

from tests.integration.wire import Reply

PATIENCE_SECONDS = 10.0
_CRLF = b"\r\n"
_WORDS = (b"hello", b"\x16\x03\x01\x02\x00\x01", b"PRI * HTTP/2.0", b"GET", b"\x00" * 64, b"\xff" * 64, b"*", b"")
_METHODS = (b"GET", b"HEAD", b"PUT", b"DELETE", b"POST", b"OPTIONS", b"TRACE", b"CONNECT", b"PATCH", b"BREW", b"get")
_VERSIONS = (b"HTTP/1.1",) * 6 + (b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/9.9", b"RTSP/1.0", b"HTTP/1", b"")
_PATHS = (
    b"/v1/kv/raw",
    b"/v1/kv",
    b"/v1/kv/",
    b"/v1/txn",
    b"/v1/leases",
    b"/v1/leases/7",
    b"/v1/leases/7/keepalive",
    b"/v1/leases/",
    b"/v1/status",
    b"/v1/status/",
    b"/healthz",
    b"/readyz",
    b"/metrics",
    b"/v1/claim",
    b"/v1/takeover",
    b"/v1/report",
    b"/v1/pool/worker-9",
    b"/v1/pool/",
    b"/v1/main",
    b"/v1/cluster",
    b"/v1/epochs",
    b"/v1/takeovers",
    b"/v1/keepalive",
    b"/v1/lifeline",
    b"/",
    b"*",
    b"http://host/v1/kv/raw",
    b"http://host",
    b"//",
    b"/v1//kv/raw",
    b"host:80",
)
_TAILS = (
    b"",
    b"%",
    b"%zz",
    b"%ff%fe",
    b"%00",
    b"%ed%a0%80",
    b"/../../etc",
    b"/%2e%2e",
    b"\xc3\xa9",
    b"\x00",
    b"a" * 1100,
    b"%41" * 1100,
    b"a" * 70_000,
    b"#fragment",
    b"\\",
    b"?limit=0",
    b"?limit=" + b"9" * 5000,
    b"?limit=" + b"0" * 5000 + b"1",
    b"?cas=0",
    b"?limit=-1",
    b"?limit=1e3",
    b"?limit=%c2%b2",
    b"?after=%ff",
    b"?after=" + b"a" * 5000,
    b"?prefix=%00&after=%f4%8f%bf%bf",
    b"?consistency=stale",
    b"?consistency=STALE",
    b"?revision=0",
    b"?revision=" + b"9" * 18,
    b"?revision=" + b"9" * 5000,
    b"?revision=%c2%b2",
    b"?consistency=stale&consistency=linearizable",
    b"?" + b"&".join(b"a%d=b" % number for number in range(40)),
    b"?;&=&&==%",
    b"?limit",
)
_HEADERS = (
    b"Host: x",
    b"Host: evil.example",
    b"Host: x\r\nHost: x",
    b"Accept-Language: en",
    b"Origin: http://evil.example",
    b"Origin: http://[",
    b"Sec-Fetch-Site: cross-site",
    b"X-HTTP-Method-Override: DELETE",
    b"Content-Range: bytes 0-1/2",
    b"Content-Encoding: gzip",
    b"Content-MD5: \xff",
    b"Content-Digest: sha-256=:!:, md5",
    b"If-Unmodified-Since: never",
    b"If-None-Match: *\r\nIf-None-Match: *",
    b"Idempotency-Key: a\r\nIdempotency-Key: a",
    b"Host: [",
    b"Host: \xff\xfe",
    b"Host: h:99999999",
    b"Connection: close",
    b"Connection: Upgrade\r\nUpgrade: h2c",
    b"Connection: Upgrade\r\nUpgrade: websocket",
    b"Expect: 100-continue",
    b"Expect: more",
    b"Range: bytes=0-0",
    b"Range: bytes=" + b"9" * 6000 + b"-",
    b"Range: bytes=-" + b"9" * 6000,
    b"Range: bytes=5-1",
    b"Range: bytes=0-0,1-1",
    b"Range: bytes=\xb2-\xb3",
    b"Range: =,",
    b"Range: items=0-1",
    b"If-Range: \xff",
    b"If-Match: *",
    b'If-Match: "1-1", W/"0-0"',
    b"If-Match: 1-1",
    b'If-Match: "',
    b'If-Match: "\xff"',
    b"If-Match: " + b'"1-1",' * 2000,
    b"If-None-Match: *",
    b"If-None-Match: ,",
    b'If-None-Match: "' + b"9" * 5000 + b'"',
    b"Idempotency-Key: " + b"k" * 257,
    b"Idempotency-Key: \xff",
    b"Idempotency-Key:",
    b"Content-Type: \xff",
    b"Content-Type:",
    b"Content-Type: " + b"t" * 300,
    b"Last-Event-ID: " + b"9" * 5000,
    b"Cookie: hanas-token=%ff%00\xff; ;=",
    b"Authorization: Bearer \xff",
    b"Authorization: Basic Og==",
    b"HANas-Member: \xff",
    b"HANas-Lease: 7",
    b"HANas-Lease: " + b"9" * 5000,
    b"HANas-Lease: \xb2",
    b"X: " + b"a" * 60_000,
    b"X: " + b"a" * 400_000,
    _CRLF.join(b"X%d: y" % number for number in range(2000)),
    b"X: a\x00b",
    b"no colon",
    b": no name",
    b"X : y",
    b" folded",
    b"X: a\nY: b",
)
_BODIES = (
    b"",
    b"value",
    b"{",
    b"[]",
    b"null",
    b"NaN",
    b"-Infinity",
    b'{"member":"a","member":"b"}',
    b'{"member":"\\ud800"}',
    b'{"member":"\xff"}',
    b'{"x":' + b"[" * 2000 + b"]" * 2000 + b"}",
    b'{"x":' * 1500 + b"1" + b"}" * 1500,
    b"[" * 60_000,
    b'{"epoch":' + b"1" * 3000 + b"}",
    b'{"epoch":1e999}',
    b"\x00" * 100,
    b"\xef\xbb\xbf{}",
    b"x" * 70_000,
    b'{"ttl":0}',
    b'{"ttl":' + b"9" * 4000 + b"}",
    b'{"then":[{"delete":{"key":"none"}}]}',
    b'{"then":' + b'[{"txn":{"then":' * 2000 + b"[]" + b"}}]" * 2000 + b"}",
    b'{"then":[{"put":{"key":"raw","base64":"%"}}]}',
    b'{"if":[{"key":"a","target":"mod","number":' + b"9" * 5000 + b"}]}",
)
_LENGTHS = (b"-1", b"+1", b"0x10", b"many", b"", b"1, 1", b"1_0", b"9" * 30, b"18446744073709551616", b"\xb2")
_CHUNKED = (
    b"not hex\r\n",
    b"FFFFFFFFFFFFFFFFFF\r\nabc",
    b"-1\r\nabc\r\n0\r\n\r\n",
    b"3\r\nabcd\r\n0\r\n\r\n",
    b"3;ext=1\r\nabc\r\n0\r\n\r\n",
    b"3\r\nabc\r\n0\r\nIf-Match: 1\r\n\r\n",
    b"3\r\nabc\r\n",
    b"0\r\n\r\n",
    b"3\nabc\n0\n\n",
    b"0" * 5000 + b"3\r\nabc\r\n0\r\n\r\n",
)


class Rough(NamedTuple):
    """A request as bytes."""

    head: bytes
    body: bytes
    authorized: bool

    def bytes(self, token: str) -> bytes:
        """What goes over the wire for those whose token this is."""
        line, _, headers = self.head.partition(_CRLF)
        known = b"Authorization: Bearer %b\r\n" % token.encode() if self.authorized else b""
        return line + _CRLF + known + headers + self.body


def _head(method: bytes, path: bytes, version: bytes, headers: list[bytes]) -> bytes:
    return b"%b %b %b\r\n%b\r\n" % (method, path, version, b"".join(header + _CRLF for header in headers))


@st.composite
def requests(draw: st.DrawFn) -> Rough:
    """A request with something wrong in it, mostly; now and then it is sound."""
    if draw(st.integers(0, 19)) == 0:
        return Rough(draw(st.sampled_from(_WORDS)) + draw(st.binary(max_size=80)) + _CRLF + _CRLF, b"", False)
    path = draw(st.sampled_from(_PATHS)) + draw(st.one_of(st.sampled_from(_TAILS), st.binary(max_size=8)))
    headers = draw(st.lists(st.sampled_from(_HEADERS), max_size=3))
    body = draw(st.one_of(st.sampled_from(_BODIES), st.binary(max_size=40)))
    match draw(st.integers(0, 5)):
        case 0:
            headers.append(b"Content-Length: " + draw(st.sampled_from(_LENGTHS)))
        case 1:
            headers.append(b"Transfer-Encoding: " + draw(st.sampled_from([b"chunked", b"gzip, chunked", b"identity"])))
            body = draw(st.sampled_from(_CHUNKED))
        case 2:  # shorter or longer than it says
            headers.append(b"Content-Length: %d" % max(0, len(body) + draw(st.integers(-3, 3))))
        case 3:
            headers += [b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked"]
        case _:
            headers.append(b"Content-Length: %d" % len(body))
    head = _head(draw(st.sampled_from(_METHODS)), path, draw(st.sampled_from(_VERSIONS)), headers)
    return Rough(head, body, draw(st.booleans()))


async def answers(base: str, request: bytes) -> list[Reply]:
    """Send bytes, close one's own side, and return whatever is answered until the other side closes as well.

    Interim answers (100) are left out. Raises TimeoutError when it never closes; a reset ends the answers.
    """
    address = urlsplit(base)
    received = bytearray()
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            writer.write(request)
            await writer.drain()
            writer.write_eof()
            while piece := await reader.read(65536):
                received += piece
        except (ConnectionError, OSError):
            pass
        finally:
            writer.transport.abort()
    return list(_parsed(bytes(received), b"HEAD" in request))


def _parsed(received: bytes, perhaps_bodiless: bool) -> list[Reply]:
    found = []
    while received.startswith(b"HTTP/1.1 "):
        head, _, rest = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split(" ")[1])
        length = int(headers.get("content-length", "0")) if status not in {100, 204, 304} else 0
        bodiless = perhaps_bodiless and (not rest or rest.startswith(b"HTTP/1.1 "))
        body, received = (b"", rest) if bodiless else (rest[:length], rest[length:])
        if status != 100:
            found.append(Reply(status, headers, body))
    return found


def what_is_wrong(reply: Reply, *, worker: bool) -> str | None:
    """Say what no client should have to put up with in an answer, None if there is nothing."""
    dropped = reply.headers.get("connection") == "close" and reply.status in {400, 431, 501}
    if reply.headers.get("x-content-type-options") != "nosniff" and reply.status not in {201, 204, 304}:
        return "an answer whose type a browser may guess"
    if reply.status >= 500 and reply.status not in {503, 507} and not dropped:
        return "an error of the server that is not documented"
    if worker and not dropped and "hanas-epoch" not in reply.headers:
        return "no HANas-Epoch"
    if reply.status < 400 and reply.status != 307:
        return None
    if reply.headers.get("content-type") != "application/problem+json":
        return "an error that is no problem document"
    if not reply.body:
        return None
    problem = msgspec.json.decode(reply.body)
    if set(problem) - {"epoch", "main"} != {"type", "title", "status", "detail"} or problem["status"] != reply.status:
        return "a problem document that lacks something"
    return None if problem["detail"] and "should not have happened" not in problem["detail"] else "no detail"
