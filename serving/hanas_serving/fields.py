"""The fields of a request's head.

A list may come in several lines, which are joined; what has one value must come once (RFC 9110, 5.3).
"""

from collections.abc import Iterable

from hanas_serving.answers import Headers
from hanas_serving.problems import Problem

_LISTS = frozenset({b"if-match", b"if-none-match", b"content-encoding", b"content-digest", b"repr-digest", b"digest"})
_SINGLE = frozenset(
    {
        b"authorization",
        b"content-md5",
        b"content-range",
        b"content-type",
        b"cookie",
        b"expect",
        b"host",
        b"idempotency-key",
        b"if-modified-since",
        b"if-range",
        b"if-unmodified-since",
        b"last-event-id",
        b"origin",
        b"range",
        b"sec-fetch-site",
    }
)
_OVERRIDES = (b"x-http-method-override", b"x-http-method", b"x-method-override")
DIGESTS = (b"content-md5", b"content-digest", b"repr-digest", b"digest")
_SPECIAL = frozenset({b"origin", b"sec-fetch-site", *_OVERRIDES, *DIGESTS})
BROWSERS = frozenset({b"accept-language", b"origin", b"referer", b"sec-fetch-site", b"sec-fetch-mode"})
"""Names of which each request of a browser has one; the first one no page can leave out."""
JSON = b"application/json"


def are_plain(names: frozenset[bytes], count: int) -> bool:
    """Return whether a head of ``count`` fields with these names needs no look at them as a whole."""
    return len(names) == count and names.isdisjoint(_SPECIAL)


def merged(fields: Headers) -> Headers:
    """Return each field once. Raises Problem 400 if one that has a single value came twice."""
    by_name: dict[bytes, bytes] = {}
    for name, value in fields:
        if name not in by_name:
            by_name[name] = value
        elif name in _SINGLE:
            raise Problem(400, f"{_title(name)} came twice; nothing was done; send it once")
        elif name in _LISTS:
            by_name[name] += b", " + value
    return list(by_name.items())


def check_method(method: str, fields: Iterable[tuple[bytes, bytes]]) -> None:
    """Raise Problem 417 for an expectation that is not met, 400 if another method is meant than the one that came."""
    for name, value in fields:
        if name == b"expect" and value.strip().lower() != b"100-continue":
            raise Problem(417, "of all expectations, only 100-continue is met here; nothing was done; leave out Expect")
        if name in _OVERRIDES and value.strip().decode("latin-1").upper() != method:
            raise Problem(400, f"{_title(name)} is not understood; nothing was done; send the method itself")


def require_json(fields: Headers) -> None:
    """Raise Problem 415 unless the body is plain JSON: a page of another site can send other types without asking."""
    values = dict(fields)
    if values.get(b"content-type", b"").partition(b";")[0].strip().lower() != JSON:
        raise Problem(415, "send the body as JSON, with Content-Type: application/json; nothing was done")
    require_identity(fields)


def require_identity(fields: Headers) -> None:
    """Raise Problem 415 for a body with a content coding."""
    coding = dict(fields).get(b"content-encoding", b"identity").strip().lower()
    if coding not in {b"identity", b""}:
        detail = (
            "Content-Encoding is not kept: the content would come back without it; nothing was done; send the content "
            "itself, or name the coding in Content-Type, such as application/gzip"
        )
        raise Problem(415, detail, {"accept-encoding": "identity"})


def require_no_query(query: bytes) -> None:
    """Raise Problem 400 if a call that takes no parameters got some."""
    if query:
        name = query.decode("latin-1").partition("&")[0].partition("=")[0]
        raise Problem(400, f"unknown parameter {name[:40]!r}: this call takes none")


def _title(name: bytes) -> str:
    return name.decode("latin-1").title()
