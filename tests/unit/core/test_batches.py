"""Batches: what is written is read, and what is not whole is never taken for a batch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanas_core.log import records
from hanas_core.log.batches import (
    FIRST_OFFSET,
    HEADER_BYTES,
    Batch,
    Fault,
    Kind,
    decode,
    encode,
    find_later,
    salvage,
    size_of,
)
from hanas_core.log.positions import Position, Version
from hanas_core.volume.errors import Corruption

NONCE = 0x1234_5678_9ABC_DEF1
PLACE = {"nonce": NONCE, "epoch": 7, "number": 3}

u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
batches = st.builds(
    Batch,
    origin=u64,
    first_sequence=u64,
    count=u32,
    payload=st.binary(max_size=300),
    kind=st.sampled_from(Kind),
    epoch=st.just(7),
    number=st.just(3),
    offset=st.integers(0, 2**40).map(lambda n: n * 8),
    committed=st.none() | st.builds(Position, st.just(7), st.integers(1, 2**32 - 1), u64),
    format=st.sampled_from((records.PLAIN, records.REVISED)),
    encrypted=st.just(False),  # that is what its reader says
)


def placed(payload: bytes = b"payload", offset: int = FIRST_OFFSET, epoch: int = 7) -> Batch:
    return Batch(7, 5, 2, payload, epoch=epoch, number=3, offset=offset, committed=Position(epoch, 2, 99))


def read(content: bytes, offset: int = FIRST_OFFSET) -> Batch | Fault:
    return decode(content, 0, offset, nonce=NONCE, epoch=7, number=3)


@given(batches, u64.filter(bool))
def test_what_is_written_is_read(batch: Batch, nonce: int) -> None:
    content = encode(batch, nonce)
    found = decode(content, 0, batch.offset, nonce=nonce, epoch=7, number=3)
    assert found == batch._replace(end=batch.offset + len(content))
    assert isinstance(found, Batch)
    assert found.position == Position(7, 3, found.end)
    assert len(content) == size_of(len(batch.payload))
    assert len(content) % 8 == 0


@given(batches, st.data())
def test_every_changed_byte_is_detected(batch: Batch, data: st.DataObject) -> None:
    content = bytearray(encode(batch, NONCE))
    at = data.draw(st.integers(0, HEADER_BYTES + len(batch.payload) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    assert isinstance(decode(bytes(content), 0, batch.offset, **PLACE), Fault)


@given(batches, st.data())
def test_every_missing_end_is_detected(batch: Batch, data: st.DataObject) -> None:
    content = encode(batch, NONCE)[: HEADER_BYTES + len(batch.payload)]
    kept = data.draw(st.integers(0, len(content) - 1))
    assert decode(content[:kept], 0, batch.offset, **PLACE) is Fault.SHORT
    # All-zero headers say "end", whatever follows: a batch whose header was never written.
    torn = content[:kept].ljust(len(content), b"\0")
    if torn != content:
        assert isinstance(decode(torn, 0, batch.offset, **PLACE), Fault)


def test_every_single_bit_is_checked() -> None:
    content = encode(placed(), NONCE)
    for bit in range(8 * (HEADER_BYTES + len(b"payload"))):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        assert isinstance(read(bytes(changed)), Fault), bit


def test_zeros_are_the_end() -> None:
    assert read(bytes(HEADER_BYTES)) is Fault.ZERO
    assert read(bytes(HEADER_BYTES - 1)) is Fault.SHORT


def test_a_batch_of_another_place_is_no_batch_here() -> None:
    content = encode(placed(), NONCE)
    assert read(content, FIRST_OFFSET + 8) is Fault.BAD
    assert decode(content, 0, FIRST_OFFSET, nonce=NONCE + 2, epoch=7, number=3) is Fault.BAD
    assert decode(content, 0, FIRST_OFFSET, nonce=NONCE, epoch=8, number=3) is Fault.BAD


def test_nothing_known_to_be_committed() -> None:
    found = read(encode(placed()._replace(committed=None), NONCE))
    assert isinstance(found, Batch)
    assert found.committed is None


@pytest.mark.parametrize("gap", [1, 8, 500])
def test_a_later_batch_is_found_anywhere(gap: int) -> None:
    content = b"\xff" * gap + encode(placed(offset=FIRST_OFFSET + gap), NONCE)
    assert find_later(content, FIRST_OFFSET, **PLACE) == FIRST_OFFSET + gap


def test_the_nonce_alone_is_no_later_batch() -> None:
    nonce = NONCE.to_bytes(8, "little")
    assert find_later(nonce * 30, FIRST_OFFSET, **PLACE) is None
    content = nonce * 3 + encode(placed(offset=FIRST_OFFSET + 24), NONCE)
    assert find_later(content, FIRST_OFFSET, **PLACE) == FIRST_OFFSET + 24


def test_a_copy_of_a_batch_at_another_offset_is_no_later_batch() -> None:
    assert find_later(bytes(8) + encode(placed(), NONCE), FIRST_OFFSET, **PLACE) is None


texts = st.text(max_size=20)
sizes, numbers = st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 64) - 1)
idempotencies = st.none() | st.builds(records.Idempotency, texts, st.binary(max_size=16))
forwardings = st.builds(records.Forwarded, st.builds(Version, numbers, numbers), numbers, numbers)
keys = texts.map(str.encode)
some_records = st.lists(
    st.builds(records.Put, keys, sizes, numbers, texts, idempotencies, st.booleans())
    | st.builds(records.Delete, keys, idempotencies)
    | st.builds(records.ForwardedPut, keys, sizes, numbers, texts, idempotencies, st.booleans(), forwarded=forwardings)
    | st.builds(records.ForwardedDelete, keys, idempotencies, forwarded=forwardings)
    | st.builds(records.Opened, texts)
)


merged_records = st.lists(
    st.builds(records.Kept, numbers, numbers, keys, sizes, numbers, texts)
    | st.builds(records.Gone, numbers, numbers, keys)
    | st.builds(
        records.Remembered,
        numbers,
        numbers,
        st.builds(records.Idempotency, texts, st.binary(max_size=16)),
        st.booleans(),
        st.booleans(),
    )
    | st.builds(records.Session, numbers, numbers, texts)
    | st.builds(records.Answered, numbers, numbers, forwardings, st.booleans(), st.booleans())
    | st.builds(records.Reached, numbers),
    min_size=1,
)


def holding(payload: bytes) -> Batch:
    return Batch(1, 1, 1, payload, epoch=1, number=1, offset=4096)


@pytest.mark.parametrize(
    "content", [b"\xc1", b"\x91\x96\xa1p\xa1\xff\x01\x01\xa0\xc0", b"\x91" * 4000], ids=["odd", "no UTF-8", "deep"]
)
def test_a_batch_whose_records_are_something_else_is_named(content: bytes) -> None:
    batch = holding(len(content).to_bytes(4, "little") + content)
    for decode_some in (records.decode, records.decode_merged):
        with pytest.raises(Corruption, match="segments/0000000001-000001: the records of the batch at offset 4096 "):
            decode_some(batch)


@given(some_records, st.binary(max_size=20))
def test_records_are_read_as_they_were_written_and_the_cells_behind_them(
    some: list[records.Record], cells: bytes
) -> None:
    payload = records.encode(some, [cells])
    found, cells_at = records.decode(holding(payload))
    assert found == some
    assert payload[cells_at:] == (cells if some else b"")


@given(merged_records, st.binary(max_size=20))
def test_merged_records_are_read_as_they_were_written(some: list[records.Merged], cells: bytes) -> None:
    payload = records.encode_merged(some, [cells], records.PLAIN)
    found, cells_at = records.decode_merged(holding(payload))
    assert found == some
    assert payload[cells_at:] == cells


def test_a_session_and_a_number_take_few_bytes_and_none_where_there_are_none() -> None:
    put, fields = records.Put(b"k", 5, 7, "t", None, created=True), b"\xa1k\x05\x07\xa1t\xc0\xc3"
    assert records.encode([put])[4:] == b"\x91\x97\xa1p" + fields
    forwarding = records.Forwarded(Version(3, 17), 9, 8)
    forwarded = records.ForwardedPut(b"k", 5, 7, "t", None, created=True, forwarded=forwarding)
    assert records.encode([forwarded])[4:] == b"\x91\x98\xa1P" + fields + b"\x93\x92\x03\x11\x09\x08"
    assert records.encode([records.Delete(b"k")])[4:] == b"\x91\x93\xa1d\xa1k\xc0"
    gone = records.ForwardedDelete(b"k", forwarded=forwarding)
    assert records.encode([gone])[4:] == b"\x91\x94\xa1D\xa1k\xc0\x93\x92\x03\x11\x09\x08"
    assert records.encode([records.Opened("w1")])[4:] == b"\x91\x92\xa1o\xa2w1"


def test_no_records_take_no_bytes() -> None:
    assert records.encode([]) == b""


def test_positions_and_versions_in_words_and_in_order() -> None:
    assert str(Position(2, 3, 4)) == "2/3/4"
    assert str(Version(2, 17)) == "2-17"
    assert Position(1, 9, 9) < Position(2, 1, 1) < Position(2, 2, 0)


def test_of_a_damaged_batch_is_salvaged_what_its_header_tells() -> None:
    content = bytearray(encode(placed(), NONCE))
    content[-9] ^= 1
    saved = salvage(bytes(content), 0)
    assert saved is not None
    assert saved.first_sequence == placed().first_sequence
    assert salvage(bytes(content), len(content) - 8) is None
    content[20] = 9  # no kind
    assert salvage(bytes(content), 0) is None
