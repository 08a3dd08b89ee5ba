"""A value is read in part, checked, and never more of it than that part needs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanas_core.log.cells import PART_BYTES, cell_size, checksum_of, read_part, sums_of
from hanas_core.volume.blocking import run
from hanas_core.volume.errors import Corruption
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import bare_folder

NAME = "tmp/cells"
BEFORE = 100
SIZES = [0, 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES, 3 * PART_BYTES + 7]


def content(size: int) -> bytes:
    return b"".join(number.to_bytes(4, "little") for number in range(size // 4 + 1))[:size]


def stored(value: bytes) -> tuple[MemoryFolder, int, int]:
    """Return a folder with the cell of a value, where the value begins, and its checksum."""
    folder, sums = bare_folder(), sums_of(value)
    assert len(sums) + len(value) == cell_size(len(value))
    run(folder.create(NAME, bytes(BEFORE) + sums + value))
    return folder, BEFORE + len(sums), checksum_of(value, sums)


def read(folder: MemoryFolder, offset: int, size: int, checksum: int, part: tuple[int, int]) -> bytes:
    return run(read_part(run(folder.open(NAME, "read")), NAME, offset, size, checksum, part))


@given(st.data())
def test_every_part_of_every_size_is_what_was_written(data: st.DataObject) -> None:
    size = data.draw(st.sampled_from(SIZES))
    begin = data.draw(st.integers(0, size))
    end = data.draw(st.integers(begin, size))
    value = content(size)
    folder, offset, checksum = stored(value)
    assert read(folder, offset, size, checksum, (begin, end)) == value[begin:end]


def test_a_part_of_a_large_value_reads_little() -> None:
    value = content(20 * PART_BYTES)
    folder, offset, checksum = stored(value)
    taken: list[int] = []
    file = run(folder.open(NAME, "read"))

    class Counting:
        async def read(self, offset: int, length: int) -> bytes:
            taken.append(length)
            return await file.read(offset, length)

        write = write_block = sync = close = None

    part = (10 * PART_BYTES + 5, 10 * PART_BYTES + 9)
    assert run(read_part(Counting(), NAME, offset, len(value), checksum, part)) == value[slice(*part)]
    assert sum(taken) <= PART_BYTES + 20 * 8


@pytest.mark.parametrize("size", [10, 3 * PART_BYTES])
@pytest.mark.parametrize("where", [0, 0.5, 1])
def test_a_flipped_bit_is_found_and_its_place_is_named(size: int, where: float) -> None:
    value = content(size)
    folder, offset, checksum = stored(value)
    at = min(offset + int(where * size), offset + size - 1)
    folder.disk.spoil(NAME, at, bytes([value[at - offset] ^ 1]))
    with pytest.raises(Corruption, match=f"{NAME}: .* at offset .*hanas fsck"):
        read(folder, offset, size, checksum, (0, size))
    if size > PART_BYTES and where == 1:
        assert read(folder, offset, size, checksum, (0, PART_BYTES)) == value[:PART_BYTES], "the rest is still good"


def test_flipped_sums_are_found() -> None:
    value = content(3 * PART_BYTES)
    folder, offset, checksum = stored(value)
    folder.disk.spoil(NAME, offset - 1, b"\xff")
    for part in ((0, 1), (2 * PART_BYTES, 2 * PART_BYTES + 1)):
        with pytest.raises(Corruption, match=NAME):
            read(folder, offset, len(value), checksum, part)
