"""Blocks say nothing, something valid, or that they are rotten; names follow their rules."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanas_core.log.claimfile import Seal
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.blocks import PAYLOAD_BYTES, ZERO_BLOCK, Blank, decode, encode, pack, unpack
from hanas_core.volume.errors import Corruption
from hanas_core.volume.folder import BLOCK_BYTES
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import bare_folder


@given(st.binary(max_size=PAYLOAD_BYTES))
def test_what_is_packed_is_unpacked(payload: bytes) -> None:
    block = pack(payload)
    assert len(block) == BLOCK_BYTES
    assert unpack(block) == payload


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b'{"member":"\xff"}', b'{"x":' + b"[" * 2000 + b"]" * 2000 + b"}"],
    ids=["empty", "other kind", "no UTF-8", "too deep"],
)
def test_a_block_with_a_right_checksum_that_says_something_else_is_named(payload: bytes) -> None:
    with pytest.raises(Corruption, match="claims/1: the block at offset 8192 holds no Seal: "):
        decode(pack(payload), Seal, "claims/1", 8192)


@given(st.binary(min_size=1, max_size=100), st.data())
def test_a_changed_byte_makes_it_rotten(payload: bytes, data: st.DataObject) -> None:
    block = bytearray(pack(payload))
    block[data.draw(st.integers(0, 15 + len(payload)))] ^= data.draw(st.integers(1, 255))
    assert unpack(bytes(block)) is Blank.ROTTEN


def test_only_all_zeros_are_zero() -> None:
    assert unpack(ZERO_BLOCK) is Blank.ZERO
    assert unpack(ZERO_BLOCK[:-1] + b"\1") is Blank.ROTTEN
    assert unpack(pack(b"")) == b""


def test_what_is_too_long_is_refused() -> None:
    assert len(pack(bytes(PAYLOAD_BYTES))) == BLOCK_BYTES
    with pytest.raises(ValueError, match="do not fit"):
        pack(bytes(PAYLOAD_BYTES + 1))
    assert len(pack(b"x", 512)) == 512
    with pytest.raises(ValueError, match="512"):
        pack(bytes(500), 512)


@pytest.mark.parametrize("good", ["a", "A-1", "worker-0.hanas.svc", "host_3001", "0", "x" * 128])
def test_member_ids(good: str) -> None:
    assert names.is_member(good)
    assert "/" not in names.temporary(good, secrets.token_hex(16), secrets.token_hex(16)).removeprefix("tmp/")


@pytest.mark.parametrize("bad", ["", "-a", ".a", "..", "a/b", "a~b", "a b", "a\n", "\xe4", "x" * 129])
def test_what_is_no_member_id(bad: str) -> None:
    assert not names.is_member(bad)


def test_nonces() -> None:
    assert names.is_nonce(secrets.token_hex(16))
    assert secrets.token_hex(16) != secrets.token_hex(16)
    assert names.is_nonce("0123456789abcdef")
    for bad in ("", "0" * 15, "0" * 65, "A" * 32, "g" * 32, "0" * 32 + "\n"):
        assert not names.is_nonce(bad)


def test_names_sort_like_their_numbers() -> None:
    assert names.claim(9) < names.claim(10) < names.claim(1_000_000_000)
    assert names.segment(9, 999_999) < names.segment(10, 1)
    assert names.manifest(9, "z") < names.manifest(10, "a")
    assert names.member(9) < names.member(10)


def test_a_temporary_name_says_whose_it_is() -> None:
    name = names.temporary("worker-1", "f" * 32, "e" * 32).removeprefix("tmp/")
    assert names.owner_of_temporary(name) == ("worker-1", "f" * 32)
    assert names.owner_of_temporary("something-else") is None


def test_a_procedure_that_suspends_was_given_the_wrong_folder() -> None:
    with pytest.raises(RuntimeError, match="suspended"):
        run(MemoryFolder(suspends=True).names(""))


def test_errors_pass_through_the_blocking_driver() -> None:
    async def fail() -> None:
        raise KeyError("k")

    with pytest.raises(KeyError):
        run(fail())


def test_the_double_forgets_in_a_crash_what_was_not_synced() -> None:
    folder = bare_folder()
    run(folder.create("tmp/a", b"1" * 8))
    file = run(folder.open("tmp/a", "append"))
    run(folder.sync_directory("tmp"))
    run(file.write(0, b"22"))
    run(file.sync())
    run(file.write(2, b"33"))
    run(folder.link("tmp/a", "tmp/b"))
    assert bytes(folder.disk.content("tmp/b").visible) == b"22331111"
    folder.disk.crash()
    assert run(folder.names("tmp")) == ["a"]
    assert bytes(folder.disk.content("tmp/a").visible) == b"22111111"


def test_a_block_of_other_json_is_corruption_that_names_the_place() -> None:
    block = encode(Seal(2, "a", "f" * 32))
    assert decode(block, Seal, "claims/0000000001", 8192) == Seal(2, "a", "f" * 32)
    assert decode(ZERO_BLOCK, Seal, "claims/0000000001", 8192) is Blank.ZERO
    for payload in (b'{"byEpoch": "2"}', b"no JSON"):
        with pytest.raises(Corruption, match="claims/0000000001: the block at offset 8192 holds no Seal"):
            decode(pack(payload), Seal, "claims/0000000001", 8192)
