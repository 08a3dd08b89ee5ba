"""What a client's request says: keys, conditions, ranges, pages; or a `Problem` that says what is wrong with it."""

from typing import NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes

from hanas_core.state.entries import DEFAULT_TYPE
from hanas_core.state.judge import Write
from hanas_serving.direct import Headers
from hanas_serving.problems import Problem

MOST_KEY_BYTES = 1024
MOST_PAGE = 1000
DEFAULT_PAGE = 100
MOST_HEADER_CHARS = 256
KEY_PATH = b"/v1/kv/"
_MOST_DIGITS = 18


class PageQuery(NamedTuple):
    """Which keys a list should show."""

    prefix: str
    after: str
    limit: int
    stale: bool


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
        if name == b"range":
            options = options._replace(part=value)
        elif name == b"if-range":
            options = options._replace(if_range=value)
        elif name == b"if-none-match":
            options = options._replace(if_none_match=versions_of(value, "If-None-Match"))
        elif name == b"if-match":
            options = options._replace(if_match=versions_of(value, "If-Match"))
    return options


def write_of(key: str, headers: Headers, value: bytes | None) -> Write:
    """Return the write that a PUT asks for, or a DELETE (``value`` None)."""
    content_type, if_match, if_none_match, idempotency_key = DEFAULT_TYPE, None, None, None
    for name, content in headers:
        if name == b"content-type":
            content_type = short_text(content, "Content-Type")
        elif name == b"if-match":
            if_match = versions_of(content, "If-Match")
        elif name == b"if-none-match":
            if_none_match = versions_of(content, "If-None-Match")
        elif name == b"idempotency-key":
            idempotency_key = short_text(content, "Idempotency-Key")
    if value is None:
        content_type = ""
    return Write(key, value, content_type, if_match, if_none_match, idempotency_key)


def length_of(headers: Headers) -> int | None:
    """Return the length of the body, if it is announced. The parser saw to it that it is a number."""
    return next((int(value) for name, value in headers if name == b"content-length"), None)


def key_of(raw_path: bytes) -> str:
    """Return the key in a path: 1 to 1024 bytes of UTF-8 after percent-decoding; ``/`` is allowed."""
    encoded = raw_path[len(KEY_PATH) :]
    content = unquote_to_bytes(encoded) if b"%" in encoded else encoded
    if not content:
        raise Problem(400, "the key is empty: give 1 to 1024 bytes of UTF-8 behind /v1/kv/, percent-encoded")
    if len(content) > MOST_KEY_BYTES:
        raise Problem(400, f"the key has {len(content)} bytes; at most {MOST_KEY_BYTES} are allowed")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Problem(400, "the key is not UTF-8 after percent-decoding: encode it as UTF-8") from None


def versions_of(header: bytes, name: str) -> tuple[str, ...]:
    """Return the versions in an ``If-Match`` or ``If-None-Match`` header: ``"*"`` or quoted ETags, comma-separated."""
    versions = []
    for part in header.decode("latin-1").split(","):
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
    """Return (first, end) of the one range that is asked for; None for the whole value, and for several ranges at once.

    Raises Problem: 400 for what is no range of bytes, 416 for one that begins behind the end.
    """
    unit, _, ranges = header.decode("latin-1").partition("=")
    if "," in ranges:
        return None
    first, dash, last = (part.strip() for part in ranges.strip().partition("-"))
    digits = all(part.isascii() and part.isdigit() for part in (first, last) if part)
    if unit.strip().lower() != "bytes" or not dash or not digits or not (first or last):
        raise Problem(400, "Range must be like bytes=0-99, bytes=100- or bytes=-100")
    if not first:
        begin, end = max(0, size - _number(last)), size
    else:
        begin, end = _number(first), min(size, _number(last) + 1) if last else size
        if last and _number(last) < begin:
            raise Problem(400, "Range must not end before it begins")
    if begin >= size or begin >= end:
        raise Problem(416, f"the value has {size} bytes", {"content-range": f"bytes */{size}"})
    return begin, end


def _number(digits: str) -> int:
    """Return the number; one of more than 18 digits is only known to be huge: Python reads no thousands of them."""
    return int(digits.lstrip("0")[:_MOST_DIGITS] or "0")


def query_of(query_string: bytes) -> dict[str, str]:
    """Return the parameters of a query."""
    try:
        return dict(parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=16))
    except (UnicodeDecodeError, ValueError):
        raise Problem(400, "the query is not percent-encoded UTF-8 with at most 16 parameters") from None


def is_stale(parameters: dict[str, str]) -> bool:
    """Return whether ``consistency=stale`` is asked for."""
    consistency = parameters.get("consistency", "linearizable")
    if consistency not in {"linearizable", "stale"}:
        raise Problem(400, f"consistency must be linearizable or stale, not {consistency[:40]!r}")
    return consistency == "stale"


def page_of(parameters: dict[str, str]) -> PageQuery:
    """Return what a list should show."""
    unknown = sorted(set(parameters) - {"prefix", "after", "limit", "consistency"})
    if unknown:
        raise Problem(400, f"unknown parameter {unknown[0][:40]!r}: use prefix, after, limit and consistency")
    limit = parameters.get("limit", str(DEFAULT_PAGE))
    if not (limit.isascii() and limit.isdigit() and 1 <= _number(limit) <= MOST_PAGE):
        raise Problem(400, f"limit must be a number from 1 to {MOST_PAGE}, not {limit[:40]!r}")
    return PageQuery(parameters.get("prefix", ""), parameters.get("after", ""), int(limit), is_stale(parameters))
