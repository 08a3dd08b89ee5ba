"""What a client's request says: keys, conditions, ranges, pages; or a `Problem` that says what is wrong with it."""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from hanas_core.state.entries import DEFAULT_TYPE
from hanas_core.state.judge import Write
from hanas_core.state.keytexts import is_text
from hanas_core.state.leases import MOST_ID
from hanas_serving.answers import Headers
from hanas_serving.fields import require_identity
from hanas_serving.problems import Problem

T = TypeVar("T")

MOST_KEY_BYTES = 1024
MOST_PAGE = 1000
DEFAULT_PAGE = 100
MOST_HEADER_CHARS = 256
KEY_PATH = b"/v1/kv/"
_MOST_DIGITS = 18
_MOST_VERSIONS = 256
"""In one header."""
_OF_PARTS = "values are written as a whole, and nothing was done: send all of it, without Content-Range and Range"
_NO_DATES = "values have no dates, and nothing was done: use If-Match or If-None-Match with an ETag"
_NOT_FOR_WRITES = {
    b"content-encoding": "",
    b"content-range": _OF_PARTS,
    b"range": _OF_PARTS,
    b"if-range": _OF_PARTS,
    b"if-modified-since": _NO_DATES,
    b"if-unmodified-since": _NO_DATES,
    b"if": "the conditions of WebDAV are not known here, and nothing was done: use If-Match or If-None-Match",
}
"""Headers that would change what a write means, and what is answered to them."""
_OF_WRITES = frozenset(
    {b"content-type", b"if-match", b"if-none-match", b"idempotency-key", b"hanas-lease", *_NOT_FOR_WRITES}
)
_OF_READS = frozenset({b"range", b"if-range", b"if-match", b"if-none-match"})
OF_READS = frozenset({"consistency", "revision"})
OF_LISTS = frozenset({"prefix", "after", "limit", "consistency", "revision"})


class PageQuery(NamedTuple):
    """Which keys a list should show."""

    prefix: bytes
    after: bytes
    limit: int
    stale: bool
    revision: int | None = None


class Options(NamedTuple):
    """What the headers of a read ask for beside the value."""

    part: bytes | None = None
    """The header ``Range``; nothing to a HEAD, which ignores it."""
    if_range: bytes | None = None
    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None


PLAIN = Options()


def options_of(headers: Headers) -> Options:
    """Return what a read asks for."""
    options = PLAIN
    for name, value in headers:
        if name not in _OF_READS:
            continue
        if name == b"range":
            options = options._replace(part=value)
        elif name == b"if-range":
            options = options._replace(if_range=value)
        elif name == b"if-none-match":
            options = options._replace(if_none_match=versions_of(value, "If-None-Match"))
        else:
            options = options._replace(if_match=versions_of(value, "If-Match"))
    return options


def write_of(key: bytes, headers: Headers, value: bytes | None) -> Write:
    """Return the write that a PUT asks for, or a DELETE (``value`` None)."""
    content_type, if_match, if_none_match, idempotency_key, lease = DEFAULT_TYPE, None, None, None, 0
    for name, content in headers:
        if name not in _OF_WRITES:
            continue
        if name == b"content-type":
            content_type = short_text(content, "Content-Type")
        elif name == b"if-match":
            if_match = versions_of(content, "If-Match")
        elif name == b"if-none-match":
            if_none_match = versions_of(content, "If-None-Match")
        elif name == b"idempotency-key":
            idempotency_key = short_text(content, "Idempotency-Key")
        elif name == b"hanas-lease":
            if value is None:
                raise Problem(400, "a DELETE takes no HANas-Lease, and nothing was done: send it with a PUT")
            lease = lease_of(content, "HANas-Lease")
        else:
            _refuse(name, headers)
    if value is None:
        content_type = ""
    return Write(key, value, content_type, if_match, if_none_match, idempotency_key, lease)


def lease_of(content: bytes, name: str) -> int:
    """Return the id of a lease. Raises Problem: 400."""
    number = int(content) if content.isdigit() and len(content) <= len(str(MOST_ID)) else 0
    if not 1 <= number <= MOST_ID:
        raise Problem(400, f"{name} must be the id of a lease, a number from 1 to {MOST_ID}; nothing was done")
    return number


def _refuse(name: bytes, headers: Headers) -> None:
    """Raise Problem for a header that would change what a write means, if it were not ignored."""
    if name == b"content-encoding":
        require_identity(headers)
    elif name != b"if-unmodified-since" or b"if-match" not in dict(headers):  # RFC 9110, 13.1.4: ignored beside it
        raise Problem(400, _NOT_FOR_WRITES[name])


def length_of(headers: Headers) -> int | None:
    """Return the length of the body, if it is announced. The parser saw to it that it is a number."""
    return next((int(value) for name, value in headers if name == b"content-length"), None)


def key_of(raw_path: bytes) -> bytes:
    """Return the key in a path. Raises Problem: 400."""
    return checked(content_of(raw_path))


def content_of(raw_path: bytes) -> bytes:
    """Return what stands for a key in a path, after percent-decoding, which is done once and only here."""
    encoded = raw_path[len(KEY_PATH) :]
    return unquote_to_bytes(encoded) if b"%" in encoded else encoded


def checked(content: bytes) -> bytes:
    """Return the key: 1 to 1024 bytes of UTF-8; ``/`` is allowed."""
    if not content:
        raise Problem(400, "the key is empty: give 1 to 1024 bytes of UTF-8 behind /v1/kv/, percent-encoded")
    if len(content) > MOST_KEY_BYTES:
        raise Problem(400, f"the key has {len(content)} bytes; at most {MOST_KEY_BYTES} are allowed")
    if not (content.isascii() or is_text(content)):  # most are: that saves a call
        raise Problem(400, "the key is not UTF-8 after percent-decoding: encode it as UTF-8")
    return content


def versions_of(header: bytes, name: str) -> tuple[str, ...]:
    """Return the versions in an ``If-Match`` or ``If-None-Match`` header: ``"*"`` or quoted ETags, comma-separated."""
    versions = []
    parts = header.decode("latin-1").split(",", _MOST_VERSIONS)
    if len(parts) > _MOST_VERSIONS:
        raise Problem(400, f"{name} may list at most {_MOST_VERSIONS} ETags")
    for part in parts:
        tag = part.strip().removeprefix("W/")
        if tag == "*":
            versions.append("*")
        elif len(tag) >= 2 and tag[0] == tag[-1] == '"' and '"' not in tag[1:-1]:
            versions.append(tag[1:-1])
        else:
            raise Problem(
                400, f'{name} must be * or ETags in double quotes, such as "3-1042"; this is neither: {part!r}'
            )
    return tuple(versions)


def short_text(header: bytes, name: str) -> str:
    """Return a header of 1 to 256 visible ASCII characters (blanks allowed inside)."""
    text = header.decode("latin-1")
    if not 0 < len(text) <= MOST_HEADER_CHARS or not (text.isascii() and text.isprintable()):
        raise Problem(400, f"{name} must have 1 to {MOST_HEADER_CHARS} printable ASCII characters")
    return text


def range_of(header: bytes, size: int) -> tuple[int, int] | None:
    """Return (first, end) of the one range that is asked for; None for the whole value.

    What is no range of bytes is ignored (RFC 9110, 14.2), and so are several ranges at once. Raises Problem 416 for a
    range that begins behind the end.
    """
    unit, _, ranges = header.decode("latin-1").partition("=")
    if "," in ranges:
        return None
    first, dash, last = (part.strip() for part in ranges.strip().partition("-"))
    digits = all(part.isascii() and part.isdigit() for part in (first, last) if part)
    if unit.strip().lower() != "bytes" or not dash or not digits or not (first or last):
        return None
    if not first:
        begin, end = max(0, size - _number(last)), size
    else:
        begin, end = _number(first), min(size, _number(last) + 1) if last else size
        if last and _number(last) < begin:
            return None
    if begin >= size or begin >= end:
        raise Problem(416, f"the value has {size} bytes", {"content-range": f"bytes */{size}"})
    return begin, end


def _number(digits: str) -> int:
    """Return the number; one of more than 18 digits is only known to be huge: Python reads no thousands of them."""
    return int(digits.lstrip("0")[:_MOST_DIGITS] or "0")


def query_of(query_string: bytes, names: frozenset[str]) -> dict[str, str]:
    """Return the parameters of a query, of which ``names`` are known."""
    try:
        pairs = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=16)
    except (UnicodeDecodeError, ValueError):
        raise Problem(400, "the query is not percent-encoded UTF-8 with at most 16 parameters") from None
    parameters = dict(pairs)
    unknown = sorted(parameters.keys() - names)
    if unknown:
        raise Problem(400, f"unknown parameter {unknown[0][:40]!r}: use {' and '.join(sorted(names))}")
    if len(parameters) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise Problem(400, f"the parameter {twice} is given twice: give it once")
    return parameters


def decoded(decode: Callable[[bytes], T], body: bytes, otherwise: str, example: str) -> T:
    """Return what a body of JSON asks for; ``otherwise``: what is said of another one. Raises Problem: 400."""
    try:
        return decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, f"{otherwise}, and nothing was done: {error}. Send JSON like {example}") from None


def is_stale(parameters: dict[str, str]) -> bool:
    """Return whether ``consistency=stale`` is asked for."""
    consistency = parameters.get("consistency", "linearizable")
    if consistency not in {"linearizable", "stale"}:
        raise Problem(400, f"consistency must be linearizable or stale, not {consistency[:40]!r}")
    return consistency == "stale"


def page_of(parameters: dict[str, str]) -> PageQuery:
    """Return what a list should show."""
    limit = parameters.get("limit", str(DEFAULT_PAGE))
    number = _number(limit) if limit.isascii() and limit.isdigit() else 0
    if not 1 <= number <= MOST_PAGE:
        raise Problem(400, f"limit must be a number from 1 to {MOST_PAGE}, not {limit[:40]!r}")
    prefix, after = parameters.get("prefix", ""), parameters.get("after", "")
    return PageQuery(prefix.encode(), after.encode(), number, is_stale(parameters), revision_of(parameters))


def revision_of(parameters: dict[str, str]) -> int | None:
    """Return the revision as of which is read; None: as it is."""
    revision = parameters.get("revision")
    return None if revision is None else number_of(revision, "revision")


def number_of(revision: str, name: str) -> int:
    """Return a revision that stands in a parameter, or in a header."""
    if not (revision.isascii() and revision.isdigit() and 0 < len(revision) <= _MOST_DIGITS):
        raise Problem(400, f"{name} must be a number such as HANas-Revision tells, not {revision[:40]!r}")
    return int(revision)


def idempotency_key_of(headers: Headers) -> str | None:
    """Return the idempotency key, if one came."""
    key = next((value for name, value in headers if name == b"idempotency-key"), None)
    return None if key is None else short_text(key, "Idempotency-Key")


def refuse_conditions(headers: Headers) -> None:
    """Raise Problem for a header that would change what a transaction means, if it were not ignored."""
    for name, _ in headers:
        if name in {b"if-match", b"if-none-match"}:
            raise Problem(400, "the conditions of a transaction stand in its body, and nothing was done")
        if name in _NOT_FOR_WRITES:
            _refuse(name, headers)
