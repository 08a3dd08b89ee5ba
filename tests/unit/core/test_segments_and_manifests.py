"""Segments are made once and read in growing pieces; a manifest says which bytes of them are live."""

import msgspec
import pytest

from hanas_core.log.batches import FIRST_OFFSET, Batch, Fault, encode
from hanas_core.log.claimfile import Pointer
from hanas_core.log.manifests import Cut, Manifest, read_manifest, write_manifest
from hanas_core.log.positions import NOWHERE, Position, start_of
from hanas_core.log.segments import SegmentHeader, SegmentReader, begin, new_nonce, prepare, read_header
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.blocks import ZERO_BLOCK, pack
from hanas_core.volume.errors import Corruption, FolderUnavailable, Missing, NoSpace
from hanas_core.volume.folder import BLOCK_BYTES, Room
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import FOLDER_ID, SEGMENT_BYTES, bare_folder, claim_of, incarnation

NAME = names.segment(4, 1)
NONCE = 77


def segment(*batches: bytes, size: int = SEGMENT_BYTES) -> tuple[MemoryFolder, SegmentReader]:
    folder = bare_folder()
    spare = run(prepare(folder, "a", incarnation("a"), size))
    file = run(begin(folder, spare, SegmentHeader(FOLDER_ID, 4, 1, NONCE, size)))
    run(file.write(FIRST_OFFSET, b"".join(batches)))
    return folder, run(SegmentReader.open(folder, 4, 1))


def batch(offset: int, payload_bytes: int) -> bytes:
    return encode(Batch(4, 1, 1, bytes(payload_bytes), epoch=4, number=1, offset=offset), NONCE)


def test_a_segment_is_durable_with_its_header_and_its_name_when_it_is_begun() -> None:
    folder, _ = segment()
    folder.disk.crash()
    assert run(read_header(folder, 4, 1)) == SegmentHeader(FOLDER_ID, 4, 1, NONCE, SEGMENT_BYTES)
    assert len(folder.disk.content(NAME).visible) == SEGMENT_BYTES


def test_no_space_for_the_next_segment_is_said_when_it_is_prepared() -> None:
    folder = bare_folder()
    folder.at("allocate", before=NoSpace("full"))
    with pytest.raises(NoSpace):
        run(prepare(folder, "a", incarnation("a"), SEGMENT_BYTES))


def test_where_too_little_is_free_nothing_is_written() -> None:
    folder = bare_folder()
    folder.free_bytes = 3 * SEGMENT_BYTES + (1 << 20)
    run(prepare(folder, "a", incarnation("a"), SEGMENT_BYTES, keep_free=Room(2 * SEGMENT_BYTES, 3)))
    folder.operations.clear()
    folder.free_bytes = 3 * SEGMENT_BYTES
    with pytest.raises(NoSpace, match="are needed"):
        run(prepare(folder, "a", incarnation("a"), SEGMENT_BYTES, keep_free=Room(2 * SEGMENT_BYTES, 3)))
    assert folder.log() == ["room "]
    folder.free_bytes, folder.free_files = 1 << 40, 3
    with pytest.raises(NoSpace, match=r"a file and 3 to spare are needed, 3 files \(inodes\) are free"):
        run(prepare(folder, "a", incarnation("a"), SEGMENT_BYTES, keep_free=Room(2 * SEGMENT_BYTES, 3)))
    assert folder.log() == ["room "] * 2


def test_nonces_are_random_and_never_zero() -> None:
    nonces = {new_nonce(MemoryFolder()) for _ in range(50)}
    assert len(nonces) == 50
    assert all(0 < nonce < 2**63 for nonce in nonces)


def test_a_header_that_is_none_or_another_segments_is_corruption() -> None:
    folder, _ = segment()
    run(folder.link(NAME, names.segment(4, 2)))
    with pytest.raises(Corruption, match="that of segment 4/1"):
        run(read_header(folder, 4, 2))
    run(folder.link(NAME, names.segment(5, 1)))
    with pytest.raises(Corruption, match="that of segment 4/1"):
        run(read_header(folder, 5, 1))
    folder.disk.spoil(NAME, 0, ZERO_BLOCK)
    with pytest.raises(Corruption, match=f"{NAME}: the header at offset 0 is zero"):
        run(read_header(folder, 4, 1))


def test_an_empty_segment_ends_where_it_begins() -> None:
    _, reader = segment()
    assert run(reader.take(FIRST_OFFSET)) == ([], Fault.ZERO)


def test_a_batch_that_reaches_beyond_the_first_read_is_read_whole() -> None:
    folder, reader = segment(batch(FIRST_OFFSET, 9000))
    folder.operations.clear()
    (found,), fault = run(reader.take(FIRST_OFFSET))
    assert fault is Fault.ZERO
    assert len(found.payload) == 9000
    assert len(folder.operations) == 2


def test_reads_grow_while_they_are_full_and_shrink_at_the_end() -> None:
    parts, offset = [], FIRST_OFFSET
    while offset < 64 * BLOCK_BYTES:
        parts.append(batch(offset, 400))
        offset += len(parts[-1])
    folder, reader = segment(*parts, size=80 * BLOCK_BYTES)
    folder.operations.clear()
    at, count = FIRST_OFFSET, 0
    fault: Fault | None = None
    while fault is None:
        found, fault = run(reader.take(at))
        count += len(found)
        at = found[-1].end
    assert (count, at) == (len(parts), offset)
    assert len(folder.operations) < 10
    assert run(reader.take(at)) == ([], Fault.ZERO)


def test_a_batch_is_read_up_to_an_end_and_no_further() -> None:
    first = batch(FIRST_OFFSET, 100)
    end = FIRST_OFFSET + len(first)
    _, reader = segment(first, batch(end, 100))
    found, _ = run(reader.take(FIRST_OFFSET, end))
    assert [one.end for one in found] == [end]
    assert run(reader.take(end, end)) == ([], Fault.ZERO)
    assert run(reader.take(FIRST_OFFSET, end - 8)) == ([], Fault.BAD), "an end within a batch"


def test_what_is_too_short_for_a_header_at_the_end_is_the_end() -> None:
    _, reader = segment()
    assert run(reader.take(SEGMENT_BYTES - 40)) == ([], Fault.ZERO)
    assert run(reader.take(SEGMENT_BYTES)) == ([], Fault.ZERO)


def test_a_length_beyond_the_end_is_a_bad_batch() -> None:
    folder, reader = segment(batch(FIRST_OFFSET, 100))
    folder.disk.spoil(NAME, FIRST_OFFSET + 16, (SEGMENT_BYTES).to_bytes(4, "little"))
    assert run(reader.take(FIRST_OFFSET)) == ([], Fault.BAD)


def test_a_bad_batch_behind_good_ones_is_told_with_them() -> None:
    first = batch(FIRST_OFFSET, 100)
    _, reader = segment(first, b"\xff" * 200)
    found, fault = run(reader.take(FIRST_OFFSET))
    assert (len(found), fault) == (1, Fault.BAD)
    assert run(reader.later_batch(found[0].end)) is None


def manifest(*cuts: Cut, epoch: int = 4) -> Manifest:
    return Manifest(
        epoch=epoch,
        member="a",
        incarnation=incarnation("a"),
        predecessor=3,
        cuts=cuts,
        relogged_end=FIRST_OFFSET,
        next_sequence=1,
    )


THREE = manifest(Cut(2, 1, 9000), Cut(3, 1, 8000), Cut(3, 2, 7000))


def test_a_reader_goes_from_cut_to_cut_and_then_to_the_own_segments() -> None:
    assert THREE.start == Position(2, 1, FIRST_OFFSET)
    assert THREE.after(THREE.cuts[0]) == Position(3, 1, FIRST_OFFSET)
    assert THREE.after(THREE.cuts[2]) == start_of(4)
    assert manifest().start == start_of(4)
    assert THREE.cut_of(Position(3, 2, 1)) == THREE.cuts[2]
    assert THREE.cut_of(Position(4, 1, 1)) is None


@pytest.mark.parametrize(
    ("applied", "resumed"),
    [
        (Position(4, 2, 99), Position(4, 2, 99)),  # its own epoch
        (Position(2, 1, 5000), Position(2, 1, 5000)),  # within a cut
        (Position(3, 2, 9999), Position(3, 2, 7000)),  # beyond it: the rest was re-logged
        (Position(2, 3, 5000), Position(2, 1, 9000)),  # in a segment that is not in the manifest
        (Position(3, 7, 5000), Position(3, 2, 7000)),
        (Position(1, 1, 5000), None),  # an epoch that is not in the manifest
        (NOWHERE, None),
    ],
)
def test_where_a_reader_resumes(applied: Position, resumed: Position | None) -> None:
    assert THREE.resume(applied) == resumed


def test_a_segment_that_was_merged_into_another_is_no_prefix() -> None:
    assert manifest(Cut(3, 2, 7000)).resume(Position(3, 1, 5000)) is None


def test_a_manifest_is_durable_with_its_name_before_anything_points_to_it() -> None:
    folder = bare_folder()
    pointer = run(write_manifest(folder, claim_of(4), THREE))
    folder.disk.crash()
    assert run(read_manifest(folder, pointer)) == THREE
    assert run(folder.names("manifests")) == [pointer.manifest.split("/")[1]]
    operations = [line.split()[0] for line in folder.log()]
    assert operations[:7] == ["create", "link", "sync_directory", "refresh", "open", "read", "remove"]


def test_a_manifest_that_reads_otherwise_than_it_was_written_is_not_pointed_to() -> None:
    folder = bare_folder()

    def spoil() -> None:
        (base,) = folder.disk.directory("manifests").visible
        folder.disk.spoil(f"manifests/{base}", 20, b"other")

    folder.at("sync_directory", "manifests", after=spoil)
    with pytest.raises(FolderUnavailable, match="not what was written"):
        run(write_manifest(folder, claim_of(4), THREE))


def test_a_manifest_whose_name_the_server_forgot_is_not_pointed_to() -> None:
    folder = bare_folder()
    folder.at("sync_directory", "manifests", before=folder.disk.crash)
    with pytest.raises(Missing):
        run(write_manifest(folder, claim_of(4), THREE))


def test_a_long_manifest_takes_more_blocks() -> None:
    folder = bare_folder()
    long = manifest(*(Cut(3, n, 12345) for n in range(1, 2000)))
    pointer = run(write_manifest(folder, claim_of(4), long))
    assert pointer.size > BLOCK_BYTES
    assert pointer.size % BLOCK_BYTES == 0
    assert run(read_manifest(folder, pointer)) == long


def test_another_manifest_than_the_one_pointed_to_is_corruption() -> None:
    folder = bare_folder()
    pointer = run(write_manifest(folder, claim_of(4), THREE))
    other = pack(msgspec.json.encode(manifest()))
    folder.disk.spoil(pointer.manifest, 0, other)
    with pytest.raises(Corruption, match=pointer.manifest):
        run(read_manifest(folder, pointer))
    folder.disk.spoil(pointer.manifest, 0, ZERO_BLOCK)
    with pytest.raises(Corruption):
        run(read_manifest(folder, Pointer(pointer.manifest, pointer.size, pointer.checksum)))
