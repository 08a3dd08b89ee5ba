"""What a client's request says, and every way in which it can make no sense."""

from urllib.parse import quote

import pytest

from hanas_serving.problems import Problem
from hanas_worker.faces.http import requests
from hanas_worker.faces.http.endpoint import concerns_keys
from hanas_worker.faces.http.requests import PageQuery

MANY_DIGITS = 5000


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (b"/v1/kv/a", "a"),
        (b"/v1/kv//", "/"),
        (b"/v1/kv/a/b%2Fc", "a/b/c"),
        (b"/v1/kv/%C3%9F", "ß"),
        (b"/v1/kv/a+b", "a+b"),
        (b"/v1/kv/%", "%"),
        (b"/v1/kv/%4", "%4"),
        (b"/v1/kv/%zz", "%zz"),
        (b"/v1/kv/%25zz", "%zz"),
        (b"/v1/kv/%00", "\0"),
        (b"/v1/kv/" + 1024 * b"k", 1024 * "k"),
        (b"/v1/kv/" + 1024 * b"%6B", 1024 * "k"),
    ],
)
def test_keys(path: bytes, key: str) -> None:
    assert requests.key_of(path) == key.encode()


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        (b"/v1/kv/", "the key is empty"),
        (b"/v1/kv/" + 1025 * b"k", "the key has 1025 bytes"),
        (b"/v1/kv/" + quote(513 * "ß").encode(), "the key has 1026 bytes"),
        (b"/v1/kv/%FF", "the key is not UTF-8"),
        (b"/v1/kv/%C3", "the key is not UTF-8"),
        (b"/v1/kv/%ED%A0%80", "the key is not UTF-8"),
        (b"/v1/kv/%C0%80", "the key is not UTF-8"),
    ],
)
def test_no_keys(path: bytes, detail: str) -> None:
    with pytest.raises(Problem, match=detail) as refused:
        requests.key_of(path)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("path", "concerned"),
    [
        (b"/v1/kv", True),
        (b"/v1/kv/", True),
        (b"/v1/kv/a", True),
        (b"/v1/kva", False),
        (b"/v1/kv%2Fa", False),
        (b"/v1/%6Bv/a", False),
        (b"/v1/status", False),
        (b"/", False),
    ],
)
def test_which_paths_are_those_of_keys(path: bytes, concerned: bool) -> None:
    assert concerns_keys(path) is concerned


@pytest.mark.parametrize(
    ("header", "versions"),
    [
        (b"*", ("*",)),
        (b' "1-2" ', ("1-2",)),
        (b'"1-2","3-4"', ("1-2", "3-4")),
        (b'W/"1-2" , *', ("1-2", "*")),
        (b'""', ("",)),
    ],
)
def test_versions(header: bytes, versions: tuple[str, ...]) -> None:
    assert requests.versions_of(header, "If-Match") == versions


@pytest.mark.parametrize("header", [b"", b"1-2", b'"1-2', b'1-2"', b'"', b'"1-2",', b'"1" "2"', b'w/"1-2"', b"\xff"])
def test_no_versions(header: bytes) -> None:
    with pytest.raises(Problem, match=r"If-None-Match must be \* or ETags in double quotes") as refused:
        requests.versions_of(header, "If-None-Match")
    assert refused.value.status == 400


def test_a_header_may_list_some_versions_only() -> None:
    assert len(requests.versions_of(b",".join([b'"1-1"'] * 256), "If-Match")) == 256
    with pytest.raises(Problem, match="If-Match may list at most 256 ETags"):
        requests.versions_of(b",".join([b'"1-1"'] * 257), "If-Match")


def test_short_texts() -> None:
    for text in ("a", "text/plain; charset=utf-8", 256 * "x"):
        assert requests.short_text(text.encode(), "X") == text
    for header in (b"", 257 * b"x", b"\xc3\xa4", b"a\tb", b"a\x00"):
        with pytest.raises(Problem, match="X must have 1 to 256 printable ASCII characters"):
            requests.short_text(header, "X")


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (b"bytes=0-0", (0, 1)),
        (b"bytes=0-", (0, 10)),
        (b"bytes=9-9", (9, 10)),
        (b"bytes=3-99", (3, 10)),
        (b"bytes=-1", (9, 10)),
        (b"bytes=-10", (0, 10)),
        (b"bytes=-11", (0, 10)),
        (b" Bytes = 1 - 2 ", (1, 3)),
        (b"bytes=00000000000000000000000000001-2", (1, 3)),
        (b"bytes=0-" + MANY_DIGITS * b"9", (0, 10)),
        (b"bytes=-" + MANY_DIGITS * b"9", (0, 10)),
        (b"bytes=0-0,2-3", None),
        (b"bytes=3-2", None),
        (b"bytes=-", None),
        (b"bytes=3", None),
        (b"bytes", None),
        (b"", None),
        (b"lines=0-1", None),
        (b"items=0-3", None),
        (b"bytes=a-", None),
        (b"bytes=-a", None),
        (b"bytes=1--2", None),
        (b"bytes=\xb2-", None),
    ],
)
def test_ranges_and_what_is_none(header: bytes, part: tuple[int, int] | None) -> None:
    assert requests.range_of(header, 10) == part


@pytest.mark.parametrize(
    ("header", "size", "status"),
    [
        (b"bytes=10-", 10, 416),
        (b"bytes=10-11", 10, 416),
        (b"bytes=-0", 10, 416),
        (b"bytes=0-0", 0, 416),
        (b"bytes=0-", 0, 416),
        (b"bytes=-1", 0, 416),
        (b"bytes=" + MANY_DIGITS * b"9" + b"-", 10, 416),
    ],
)
def test_ranges_behind_the_end(header: bytes, size: int, status: int) -> None:
    with pytest.raises(Problem) as refused:
        requests.range_of(header, size)
    assert refused.value.status == status
    assert refused.value.headers == ({"content-range": f"bytes */{size}"} if status == 416 else {})


def test_queries() -> None:
    assert requests.query_of(b"", requests.OF_READS) == {}
    names = frozenset("abcd")
    assert requests.query_of(b"a=1&b=%C3%A4+x&c=&d", names) == {"a": "1", "b": "ä x", "c": "", "d": ""}
    for query, detail in (
        (b"a=%FF", "the query is not percent-encoded UTF-8 with at most 16 parameters"),
        (b"\xff", "the query is not percent-encoded UTF-8 with at most 16 parameters"),
        (b"&".join(b"a%d=b" % number for number in range(17)), "the query is not"),
        (b"a=1&b=2&a=1", "the parameter a is given twice: give it once"),
        (b"cas=3&b=1", "unknown parameter 'cas': use a and b and c and d"),
    ):
        with pytest.raises(Problem, match=detail) as refused:
            requests.query_of(query, names)
        assert refused.value.status == 400


def test_consistency() -> None:
    assert not requests.is_stale({})
    assert not requests.is_stale({"consistency": "linearizable"})
    assert requests.is_stale({"consistency": "stale"})
    with pytest.raises(Problem, match="consistency must be linearizable or stale, not 'Stale'"):
        requests.is_stale({"consistency": "Stale"})


def test_pages() -> None:
    assert requests.page_of({}) == PageQuery(b"", b"", 100, stale=False)
    asked = {"prefix": "p", "after": "a", "limit": "1000", "consistency": "stale"}
    assert requests.page_of(asked) == PageQuery(b"p", b"a", 1000, stale=True)
    for zeros in (15, MANY_DIGITS):
        assert requests.page_of({"limit": f"{zeros * '0'}17"}).limit == 17
    for limit in ("0", "1001", "", "-1", "1.0", "²", "0000001000999", MANY_DIGITS * "9", "1" + MANY_DIGITS * "0"):
        with pytest.raises(Problem, match="limit must be a number from 1 to 1000") as refused:
            requests.page_of({"limit": limit})
        assert len(str(refused.value)) < 120
