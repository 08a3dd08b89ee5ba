"""The calls of the key-value API: requests, and the reading of their replies."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar
from urllib.parse import quote, urlencode
from uuid import uuid4

import msgspec

from hanas_client.documents import Page, ProblemDocument, decode, decoder_of
from hanas_client.errors import BadAnswer, Compacted, HanasError, NoLease, NotFound, PreconditionFailed, Refused
from hanas_client.settings import parse_urls

MAX_KEY_BYTES = 1024
PAGE_KEYS = 1000
"""The most keys of one page."""
DEFAULT_CONTENT_TYPE = "application/octet-stream"
_HEADER_VALUE = re.compile(r"[\x20-\x7e]+")

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Written:
    """A durable write. `version` is `epoch-sequence`, such as `3-1042`.

    `revision`: the store's revision that it made; None if the cluster did not tell it.
    """

    created: bool
    version: str
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class Value:
    """A value, its version and its media type.

    `revision`: the store's revision when it was read; None if the cluster has none yet.
    """

    value: bytes
    version: str
    content_type: str
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One request; every attempt sends the same. `target` is the path with the query."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    writes: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP response. The names in `headers` are in lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Recipient(Enum):
    """Who answers a call: the main, or any overseer."""

    MAIN = "main"
    OVERSEER = "overseer"


@dataclass(frozen=True, slots=True)
class TypedCall(Generic[T_co]):
    """A call with the function that reads its final reply, which may raise a `HanasError`."""

    call: Call
    read: Callable[[Reply], T_co]
    recipient: Recipient | tuple[str, ...] = Recipient.MAIN
    """Or base URLs of servers any of which may answer."""


def put(
    key: str,
    value: bytes,
    content_type: str | None = None,
    if_match: str | None = None,
    if_none_match: bool = False,
    lease: int | None = None,
) -> TypedCall[Written]:
    """Write a value, durable on return; with `if_match` only over that version, with `if_none_match` only a new key.

    `lease`: the id of the lease with which the key ends. Raises PreconditionFailed, NoLease, and ValueError for an
    invalid key or header value.
    """
    headers = _write_headers(if_match)
    if lease is not None:
        headers["hanas-lease"] = str(lease)
    if if_none_match:
        headers["if-none-match"] = "*"
    if content_type is not None:
        headers["content-type"] = _header_value(content_type, "content type")
    call = Call("PUT", _target(key), headers, bytes(value), writes=True)

    def read(reply: Reply) -> Written:
        if lease is not None and is_missing(reply):
            raise NoLease(lease)
        expect(reply, key, 200, 201, 204)
        return Written(reply.status == 201, _version(reply), revision_of(reply))

    return TypedCall(call, read)


def get(key: str, *, stale: bool = False, revision: int | None = None) -> TypedCall[Value]:
    """Read a value, linearizably unless `stale`: then a backup may answer. With `revision`, as it was then.

    Raises NotFound; Compacted if the revision is forgotten; Refused if it is still to come.
    """
    call = Call("GET", _target(key) + query_of({"consistency": "stale" if stale else None, "revision": revision}))

    def read(reply: Reply) -> Value:
        expect(reply, key, 200)
        content_type = reply.headers.get("content-type", DEFAULT_CONTENT_TYPE)
        return Value(reply.body, _version(reply), content_type, revision_of(reply))

    return TypedCall(call, read)


def delete(key: str, if_match: str | None = None) -> TypedCall[None]:
    """Remove a key. Raises NotFound, and PreconditionFailed if its version differs from `if_match`."""
    call = Call("DELETE", _target(key), _write_headers(if_match), writes=True)

    def read(reply: Reply) -> None:
        expect(reply, key, 200, 204)

    return TypedCall(call, read)


def page(
    prefix: str = "", after: str | None = None, limit: int | None = None, revision: int | None = None
) -> TypedCall[Page]:
    """Return a page of up to `limit` keys with `prefix`, in order, from the first one greater than `after`.

    With `revision`, as they were then. Raises Compacted if that is forgotten.
    """
    parameters = {"prefix": prefix or None, "after": after, "limit": limit, "revision": revision}
    call = Call("GET", "/v1/kv" + query_of(parameters), {"accept": "application/json"})

    def read(reply: Reply) -> Page:
        expect(reply, prefix, 200)
        return msgspec.structs.replace(decode(reply.body, Page, "the server"), revision=revision_of(reply))

    return TypedCall(call, read)


def page_limit(remaining: int | None) -> int:
    """Return the limit of the next page when `remaining` keys (None: all) are missing."""
    return PAGE_KEYS if remaining is None else min(remaining, PAGE_KEYS)


def status(url: str | None = None) -> TypedCall[dict[str, object]]:
    """Return the status of the worker at `url`, or of the main."""

    def read(reply: Reply) -> dict[str, object]:
        expect(reply, "/v1/status", 200)
        return decode(reply.body, dict[str, object], "the server")

    recipient = Recipient.MAIN if url is None else parse_urls(url)
    return TypedCall(Call("GET", "/v1/status", {"accept": "application/json"}), read, recipient)


def switch_over(member: str) -> TypedCall[None]:
    """Have the main hand over to the backup `member`, which then takes over. Needs the secret of the components.

    Raises Refused if that is not possible; nothing was done then.
    """

    def read(reply: Reply) -> None:
        if is_missing(reply):
            raise HanasError(f"there is no member {member!r}; `hanas status` lists them")
        expect(reply, "/v1/switchover", 202)

    body = msgspec.json.encode({"to": member})
    return TypedCall(Call("POST", "/v1/switchover", {"content-type": "application/json"}, body), read)


def serving() -> TypedCall[None]:
    """Wait for a main that serves."""

    def read(reply: Reply) -> None:
        expect(reply, "/mainz", 200)

    return TypedCall(Call("GET", "/mainz"), read)


def failure_of(reply: Reply, key: str) -> HanasError:
    """Return the error of a final reply."""
    title, detail = words_of(reply)
    if is_missing(reply):
        return NotFound(key)
    if reply.status == 412:
        return PreconditionFailed(412, title, detail)
    if reply.status == 410 and (compacted := _problem(reply).compacted) is not None:
        return Compacted(title, detail, compacted)
    if reply.status >= 400 and reply.status != 404:
        return Refused(reply.status, title, detail)
    return BadAnswer(f"the server answered {reply.status} as no HANas server does; is the address right?")


def is_missing(reply: Reply) -> bool:
    """Return whether the cluster says that there is no such thing."""
    return reply.status == 404 and is_problem(reply)


def is_problem(reply: Reply) -> bool:
    """Return whether the reply is an error document of HANas, not one of a proxy or another server."""
    return reply.headers.get("content-type", "").startswith("application/problem+json")


def words_of(reply: Reply) -> tuple[str, str]:
    """Return title and detail of an error reply, both for people."""
    problem = _problem(reply)
    return problem.title or f"HTTP status {reply.status}", problem.detail


def _problem(reply: Reply) -> ProblemDocument:
    try:
        return decoder_of(ProblemDocument).decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ProblemDocument()


def revision_of(reply: Reply) -> int | None:
    """Return the store's revision in an answer; None if it tells none."""
    text = reply.headers.get("hanas-revision", "")
    return int(text) if text.isascii() and text.isdigit() else None


def query_of(parameters: Mapping[str, object]) -> str:
    """Return the query with those parameters that are not None, with its question mark; empty without any."""
    query = urlencode({name: value for name, value in parameters.items() if value is not None}, quote_via=quote)
    return f"?{query}" if query else ""


def expect(reply: Reply, key: str, *statuses: int) -> None:
    """Raise the error that the reply to a call for `key` is, unless its status is one of these."""
    if reply.status not in statuses:
        raise failure_of(reply, key)


def _target(key: str) -> str:
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise ValueError("a key must be valid UTF-8") from None
    if not 1 <= size <= MAX_KEY_BYTES:
        raise ValueError(f"a key must have 1 to {MAX_KEY_BYTES} bytes of UTF-8; this one has {size}")
    # A proxy would resolve the path segments `.` and `..`, so their dots are encoded too.
    segments = (
        segment.replace(".", "%2E") if segment in {".", ".."} else quote(segment, safe="") for segment in key.split("/")
    )
    return "/v1/kv/" + "/".join(segments)


def _write_headers(if_match: str | None) -> dict[str, str]:
    headers = {"idempotency-key": uuid4().hex}
    if if_match is not None:
        version = _header_value(if_match.strip('"'), "version")
        headers["if-match"] = version if version == "*" else f'"{version}"'
    return headers


def _header_value(value: str, what: str) -> str:
    if not _HEADER_VALUE.fullmatch(value):
        raise ValueError(f"{value!r} is not a {what}")
    return value


def _version(reply: Reply) -> str:
    return reply.headers.get("etag", "").removeprefix("W/").strip('"')
