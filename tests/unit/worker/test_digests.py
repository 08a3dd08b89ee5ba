"""Digests that come with a value: whoever sends one is told when the value is another."""

import hashlib

import pytest

from hanas_serving.problems import Problem
from hanas_worker.faces.http.digests import check, digests_of

MD5 = "XUFAKrxLKna5cZ2REBfFkg=="
SHA256 = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="
SHA512 = "m3HSJL1i83hdltRq0+o9czGb+8KJDKra4t/3JRlnPKcjI8PZm6XBHXx6zG4UuMXaDEZjR1wuXDre9G9zvN7AQw=="


async def play(header: str, value: str, content: bytes) -> None:
    await check(digests_of([(header.lower().encode(), value.encode())]), content)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Content-MD5", MD5),
        ("Digest", f"MD5={MD5}"),
        ("Digest", f"SHA-256={SHA256},unixsum=30637"),
        ("Content-Digest", f"sha-256=:{SHA256}:"),
        ("Repr-Digest", f"sha-512=:{SHA512}:, sha-256=:{SHA256}:"),
    ],
)
async def test_right_and_wrong_ones(header: str, value: str) -> None:
    await play(header, value, b"hello")
    for wrong in (b"hello ", b"", bytes(3 << 20)):
        with pytest.raises(Problem, match="nothing was written") as refused:
            await play(header, value, wrong)
        assert refused.value.status == 400


@pytest.mark.parametrize("value", ["a", "5d41402abc4b2a76b9719d911017c592!", "ü"])
async def test_what_is_no_digest(value: str) -> None:
    with pytest.raises(Problem, match="must hold digests in base64"):
        await play("Content-MD5", value, b"hello")


async def test_algorithms_that_are_not_known_are_ignored() -> None:
    await play("Content-Digest", "crc32c=:AAAAAA==:", b"hello")
    assert digests_of([(b"content-type", b"md5=a")]) == []


async def test_each_algorithm_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    new = hashlib.new

    def counted(name: str, *, usedforsecurity: bool) -> object:
        made.append(name)
        return new(name, usedforsecurity=usedforsecurity)

    monkeypatch.setattr(hashlib, "new", counted)
    await play("Digest", ",".join([f"md5={MD5},sha-256={SHA256}"] * 8), b"hello")
    assert made == ["md5", "sha256"]


async def test_there_may_be_some_only() -> None:
    with pytest.raises(Problem, match="at most 16 digests"):
        await play("Digest", ",".join([f"md5={MD5}"] * 17), b"hello")
