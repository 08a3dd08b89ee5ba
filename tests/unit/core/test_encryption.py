"""What lies in the folder is encrypted with the keys at hand (docs/protocol.md, section 3.9)."""

import struct
from collections.abc import Callable

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from hanas_core.log import cells, encrypted, records
from hanas_core.log.batches import FIRST_OFFSET, HEADER_BYTES, Batch, Kind, encode
from hanas_core.log.cells import PART_BYTES, checksum_of, sums_of
from hanas_core.log.encrypted import decrypt, encrypt, space_of
from hanas_core.log.manifests import Cut
from hanas_core.log.positions import Position
from hanas_core.log.segments import SegmentReader, open_values, read_header
from hanas_core.state import snapshots
from hanas_core.state.index import Index
from hanas_core.state.judge import Write
from hanas_core.state.snapshots import SnapshotFile, SnapshotFrames, SnapshotHeader
from hanas_core.upkeep import fsck, keyuse
from hanas_core.upkeep.compaction import Plan, plan_anew
from hanas_core.upkeep.copying import FolderCopy
from hanas_core.upkeep.merging import MergeFiles, Merger
from hanas_core.volume import encryption, names
from hanas_core.volume.blocking import run
from hanas_core.volume.blocks import Blank
from hanas_core.volume.encryption import NO_KEYS, PLAIN, TAG_BYTES, Cipher, Keys, parse
from hanas_core.volume.errors import Corruption, KeyMissing
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import (
    FOLDER_ID,
    SEGMENT_BYTES,
    Main,
    bare_folder,
    contents,
    forge,
    fresh_backup,
    serve,
    stored,
)

A, B = "a1" * 32, "b2" * 32
KEY_A, KEY_B = parse([A]).current or "", parse([B]).current or ""
NAME = "segments/0000000007-000003"
SIZES = st.sampled_from([0, 1, 100, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES + 7])


def cipher(number: int = 3) -> Cipher:
    made = parse([A]).cipher(encryption.Encryption(KEY_A, "5" * 32), f"segment {number}", NAME)
    assert made is not None
    return made


def batch_of(sizes: list[int], kind: Kind = Kind.RECORDS) -> Batch:
    values = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    changes: list[records.Record] = [records.Delete(b"gone")]
    merged: list[records.Merged] = [records.Gone(3, 1, b"gone")]
    pieces = []
    for number, value in enumerate(values):
        sums = sums_of(value)
        pieces += [sums, value]
        changes.append(records.Put(f"k{number}".encode(), len(value), checksum_of(value, sums), "text/x"))
        merged.append(
            records.Kept(3, number + 2, f"k{number}".encode(), len(value), checksum_of(value, sums), "text/x")
        )
    payload = (
        records.encode_merged(merged, pieces, records.PLAIN) if kind is Kind.MERGED else records.encode(changes, pieces)
    )
    return Batch(3, 1, len(changes), payload, kind, 7, 3, FIRST_OFFSET)


# ---------------------------------------------------------------------- keys


def test_a_key_file_may_have_base64_and_hexadecimal() -> None:
    line = encryption.new_line()
    keys = parse([line, A])
    assert keys.ids == {parse([line]).current, KEY_A}
    assert keys.current == parse([line]).current != KEY_A
    assert line != encryption.new_line()


def test_a_key_has_the_same_id_for_ever() -> None:
    assert parse(["00" * 32]).current == "e7624a9764eb7869"


def test_plain_in_the_first_line_writes_plain_and_reads_all() -> None:
    keys = parse([PLAIN, A])
    assert keys.current is None
    assert keys.ids == {KEY_A}
    assert parse([PLAIN]) == NO_KEYS


@pytest.mark.parametrize("line", ["x", "AAAA", "zz" * 32, "é", PLAIN])
def test_a_line_that_is_no_key_is_refused_without_being_told(line: str) -> None:
    with pytest.raises(ValueError, match="line 2 is no key: 32 bytes in base64 or hexadecimal are expected") as told:
        parse([A, line])
    assert line == "x" or line not in str(told.value)


def test_older_keys_are_kept_to_read_with() -> None:
    keys = parse([B]).beside(parse([A]))
    assert keys.current == KEY_B
    assert keys.ids == {KEY_A, KEY_B}
    assert keys == parse([B, A])
    assert keys != parse([A, B])
    assert keys != "keys"


def test_a_key_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyMissing, match=f"{NAME}: is encrypted with the key {KEY_A}, which is not in") as told:
        parse([B]).cipher(encryption.Encryption(KEY_A, "5" * 32), "", NAME)
    assert told.value.key_id == KEY_A


# ---------------------------------------------------------------------- batches


@given(st.lists(SIZES, max_size=5), st.sampled_from([Kind.RECORDS, Kind.MERGED]))
def test_a_batch_is_decrypted_to_what_it_was(sizes: list[int], kind: Kind) -> None:
    batch = batch_of(sizes, kind)
    content = encrypt(batch, cipher())
    assert len(content) == space_of(batch)
    assert b"text/x" not in content
    assert decrypt(batch._replace(payload=content), cipher()) == batch._replace(encrypted=True)


def test_a_batch_without_records_has_nothing_to_encrypt() -> None:
    batch = Batch(7, 0, 0, b"", Kind.CONTINUES)
    assert encrypt(batch, cipher()) == b""
    assert space_of(batch) == 0
    assert decrypt(batch, cipher()) == batch._replace(encrypted=True)


def _changed(at: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_changed(0), id="length"),
        pytest.param(_changed(4), id="tag"),
        pytest.param(_changed(20), id="records"),
        pytest.param(_changed(len(encrypt(batch_of([100, 2 * PART_BYTES]), cipher())) - 1), id="value"),
        pytest.param(lambda content: content[:-1], id="shorter"),
        pytest.param(lambda content: content + bytes(8), id="longer"),
        pytest.param(lambda content: content[:10], id="much shorter"),
    ],
)
def test_a_payload_that_was_changed_is_corruption(change: Callable[[bytes], bytes]) -> None:
    batch = batch_of([100, 2 * PART_BYTES])
    with pytest.raises(Corruption, match=NAME):
        decrypt(batch._replace(payload=change(encrypt(batch, cipher()))), cipher())


@pytest.mark.parametrize(
    "other", [{"origin": 4}, {"first_sequence": 2}, {"count": 3}, {"kind": Kind.MERGED}, {"offset": 8192}]
)
def test_records_belong_to_their_header_and_place(other: dict[str, int]) -> None:
    batch = batch_of([1])
    with pytest.raises(Corruption, match="are not what was encrypted there"):
        decrypt(batch._replace(payload=encrypt(batch, cipher()), **other), cipher())  # type: ignore[arg-type]


def test_a_batch_of_another_segment_is_none() -> None:
    batch = batch_of([1])
    with pytest.raises(Corruption, match="are not what was encrypted there"):
        decrypt(batch._replace(payload=encrypt(batch, cipher())), cipher(4))


class InMemory:
    def __init__(self, content: bytes) -> None:
        self.content = content
        self.reads = 0

    async def read(self, offset: int, length: int) -> bytes:
        self.reads += 1
        assert offset + length <= len(self.content)
        return self.content[offset : offset + length]


def placed(value: bytes) -> tuple[bytes, int]:
    """Return a file that begins with the value's tags, and where the value begins."""
    offset = cells.tags_size(len(value))
    return b"".join(cells.encrypt(memoryview(value), offset, cipher())), offset


@pytest.mark.parametrize("size", [1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES + 7])
def test_each_part_of_a_value_is_read(size: int) -> None:
    value = bytes(number % 253 for number in range(size))
    content, offset = placed(value)
    edges = sorted({0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES, size} & set(range(size + 1)))
    for begin in edges:
        for end in edges[edges.index(begin) :]:
            file = InMemory(content)
            part = run(cells.read_part(file, NAME, offset, size, 0, (begin, end), cipher()))
            assert part == value[begin:end]
            assert file.reads <= (2 if end > begin or begin % PART_BYTES else 0)


def test_parts_that_were_exchanged_are_corruption() -> None:
    size = 2 * PART_BYTES
    content, offset = placed(b"a" * PART_BYTES + b"b" * PART_BYTES)
    tags, first, second = content[:offset], content[offset : offset + PART_BYTES], content[offset + PART_BYTES :]
    exchanged = tags[TAG_BYTES:] + tags[:TAG_BYTES] + second + first
    with pytest.raises(Corruption, match=f"{NAME}: 65536 bytes at offset {offset} are not what was encrypted there"):
        run(cells.read_part(InMemory(exchanged), NAME, offset, size, 0, (0, size), cipher()))


# ---------------------------------------------------------------------- a log


def vault(*lines: str) -> MemoryFolder:
    folder = bare_folder()
    folder.keys = parse(lines)
    return folder


def with_keys(folder: MemoryFolder, *lines: str) -> MemoryFolder:
    other = folder.other()
    other.keys = parse(lines)
    return other


def everything(folder: MemoryFolder) -> bytes:
    return b"".join(
        bytes(folder.disk.content(f"{directory}/{base}").visible)
        for directory in (names.SEGMENTS, names.SNAPSHOTS, names.TEMPORARY)
        for base in run(folder.names(directory))
    )


def filled(main: Main) -> dict[str, str]:
    expected = {}
    for number in range(12):
        key, value = f"secret-{number}", f"hidden {number} " * 200
        main.spare()
        main.write(
            Write(key.encode(), value.encode(), "text/secret", idempotency_key=f"again-{number}"), Write(b"none", None)
        )
        expected[key] = value
    return expected


def test_nothing_of_a_write_can_be_seen_and_all_is_found() -> None:
    main = serve(vault(A), 1)
    expected = filled(main)
    assert main.log.sealed, "it has rolled"
    assert main.log.encrypted
    for word in (b"secret", b"hidden", b"again"):
        assert word not in everything(main.folder)
    backup = fresh_backup(with_keys(main.folder, B, A), 1, main.log.committed)
    assert contents(backup.index) == stored(with_keys(main.folder, B, A), backup.index) == expected
    assert stored(main.folder, main.replica.index) == expected
    copy = FolderCopy(main.folder)
    assert main.log.committed is not None
    run(copy.read(main.log.committed))
    items: dict[str, str] = {}
    while some := run(copy.take()):
        items |= {item.key: item.value.decode() for item in some}
    assert items == expected


def test_an_older_folder_goes_on_with_a_key_from_the_next_segment_on() -> None:
    main = serve(bare_folder(), 1)
    main.put("old", "plain")
    header = run(read_header(main.folder, 1, 1))
    assert b"encryption" not in bytes(main.folder.disk.content(names.segment(1, 1)).visible)[:4096]
    main.folder.keys = parse([A])
    expected = filled(main) | {"old": "plain"}
    assert not isinstance(header.encryption, encryption.Encryption)
    assert main.log.encrypted
    assert stored(main.folder, main.replica.index) == expected


@pytest.mark.parametrize(("before", "after"), [((A,), (B, A)), ((A,), (PLAIN, A)), ((PLAIN, A), (A,))])
def test_what_is_relogged_is_encrypted_for_its_new_place(before: tuple[str, ...], after: tuple[str, ...]) -> None:
    main = serve(vault(*before), 1)
    main.put("k", "committed")
    main.append("k", "secret and unknown")
    later = serve(with_keys(main.folder, *after), 2, "b", known=main.log.committed)
    later.put("l", "new")
    assert contents(later.replica.index) == {"k": "secret and unknown", "l": "new"}
    assert stored(later.folder, later.replica.index) == contents(later.replica.index)
    assert contents(fresh_backup(later.folder, 2, later.log.committed).index) == contents(later.replica.index)


def test_too_much_to_relog_is_measured_as_it_will_stand() -> None:
    main = serve(vault(A), 1)
    main.put("k", "v" * (main.log.left - 290))
    batches, _ = run(run(SegmentReader.open(main.folder, 1, 1)).take(FIRST_OFFSET))
    assert [batch.encrypted for batch in batches] == [True]
    assert batches[0].end <= SEGMENT_BYTES


def merged(main: Main, cuts: tuple[Cut, ...]) -> tuple[Cut, ...]:
    merger = Merger(main.replica.index, Plan(0, cuts, 0, 0), names.MERGED_FROM)
    files = MergeFiles(main.folder, main.claim, SEGMENT_BYTES)
    while not merger.done:
        chunk = merger.take(run(files.read(*merger.source)))
        if chunk is not None:
            merger.written(run(files.write(chunk)))
    return tuple(merger.cuts)


@pytest.mark.parametrize(("before", "after"), [((A,), (B, A)), ((PLAIN,), (A,)), ((A,), (PLAIN, A))])
def test_a_merged_segment_has_the_present_key(before: tuple[str, ...], after: tuple[str, ...]) -> None:
    main = serve(vault(*before), 1)
    expected = filled(main)
    main.folder.keys = parse(after)
    (cut,) = merged(main, main.log.cuts)
    keys = run(keyuse.keys_of(main.folder, [(cut.epoch, cut.number)]))
    assert set(keys.values()) == {main.folder.keys.current or PLAIN}
    batches, _ = run(run(SegmentReader.open(main.folder, cut.epoch, cut.number)).take(FIRST_OFFSET, cut.end))
    fresh = Index()
    for batch in batches:
        main.replica.index.relocate(batch)
        fresh.apply(batch)
    assert stored(main.folder, main.replica.index) == stored(main.folder, fresh) == expected
    assert {entry.place.number for _, entry in fresh.page(b"", b"", 99).entries} == {names.MERGED_FROM}


def test_a_file_that_was_changed_behind_a_good_checksum_is_corruption() -> None:
    main = serve(vault(A), 1)
    main.put("k", "value")
    forge(main.folder.disk.content(names.segment(1, 1)).visible)
    with pytest.raises(Corruption, match="segments/0000000001-000001: 5 bytes at offset"):
        fresh_backup(with_keys(main.folder, A), 1, main.log.committed)
    found = run(fsck.check(_identified(with_keys(main.folder, A))))
    assert any("are not what was encrypted there" in finding.what for finding in found.findings)


# ---------------------------------------------------------------------- without the key


def _identified(folder: MemoryFolder) -> MemoryFolder:
    document = f'{{"folderId":"{FOLDER_ID}","format":2,"formerIds":[]}}'.ljust(4095) + "\n"
    run(folder.create(names.CLUSTER, document.encode()))
    return folder


def _contents_not_checked(folder: MemoryFolder) -> set[str]:
    report = run(fsck.check(folder))
    assert not [one for one in report.findings if one.severity == "error" and "mailboxes" not in one.name]
    return {one.name for one in report.findings if "contents are not checked" in one.what}


def test_without_the_key_the_structure_is_checked() -> None:
    main = serve(vault(A), 1)
    filled(main)
    taken(main)
    assert main.log.committed is not None
    snapshot = snapshots.name_of(main.log.committed)
    closed = _identified(with_keys(main.folder, B))
    segments = {names.segment(1, number) for number in range(1, main.log.cuts[-1].number + 1)}
    assert _contents_not_checked(closed) == {*segments, snapshot}
    assert _contents_not_checked(with_keys(main.folder, A)) == set()
    content = main.folder.disk.content(names.segment(1, 1)).visible
    content[FIRST_OFFSET + HEADER_BYTES + 5] ^= 1
    report = run(fsck.check(closed))
    assert any("a damaged batch" in one.what for one in report.findings if one.severity == "error")


def test_nobody_reads_without_the_key() -> None:
    main = serve(vault(A), 1)
    main.put("k", "v")
    for epoch, folder in enumerate((with_keys(main.folder), with_keys(main.folder, B)), 2):
        with pytest.raises(KeyMissing, match=KEY_A):
            run(SegmentReader.open(folder, 1, 1))
        with pytest.raises(KeyMissing, match=KEY_A):
            run(keyuse.require(folder))
        with pytest.raises(KeyMissing, match=KEY_A):
            serve(folder, epoch, "b")
    with pytest.raises(KeyMissing, match=KEY_A):
        run(open_values(with_keys(main.folder, B), 1, 1))


def test_with_all_keys_nothing_is_missing() -> None:
    folder = vault(A)
    run(keyuse.require(folder))  # nobody has claimed
    main = serve(folder, 1)
    filled(main)
    run(keyuse.require(folder))
    later = serve(with_keys(folder, B, A), 2, "b", known=main.log.committed)
    run(keyuse.require(later.folder))
    with pytest.raises(KeyMissing, match=KEY_A):
        run(keyuse.require(with_keys(folder, B)))
    assert run(keyuse.keys_of(folder, [(1, 1), (2, 1), (9, 9)])) == {(1, 1): KEY_A, (2, 1): KEY_B}


def test_a_pointer_that_is_gone_a_moment_later_says_nothing_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    main = serve(vault(A), 1)

    async def gone(*_: object) -> Blank:
        return Blank.ZERO

    monkeypatch.setattr(keyuse, "read_pointer", gone)
    run(keyuse.require(with_keys(main.folder, B)))


def test_segments_with_another_key_are_written_anew_a_few_at_a_time() -> None:
    cuts = [Cut(1, number, 8192) for number in range(1, 21)]
    live = {(1, number): 100 for number in range(1, 21)}

    def first(stale: set[int]) -> Plan | None:
        return plan_anew(cuts, live, SEGMENT_BYTES, lambda cut: cut.number in stale)

    assert first(set()) is None
    assert first({3, 4, 7}) == Plan(2, tuple(cuts[2:4]), 2 * SEGMENT_BYTES, 200)
    assert first(set(range(1, 21))) == Plan(0, tuple(cuts[:8]), 8 * SEGMENT_BYTES, 800)


# ---------------------------------------------------------------------- snapshots


def taken(main: Main) -> None:
    assert main.log.committed is not None
    header = SnapshotHeader(
        folder_id=FOLDER_ID,
        position=main.log.committed,
        sequence=main.replica.index.sequence,
        merged=(),
        keys=0,
        size=0,
        encryption=main.folder.keys.begin(main.folder.nonce),
    )
    frames, file = SnapshotFrames(main.replica.index), SnapshotFile(main.folder, "tmp/snapshot", header)
    for payload in frames:
        run(file.write(payload))
    run(file.finish(frames.ending))


def test_a_snapshot_is_encrypted_and_helps_who_has_its_key() -> None:
    main = serve(vault(A), 1)
    expected = filled(main)
    taken(main)
    for word in (b"secret", b"hidden", b"again"):
        assert word not in everything(main.folder)
    (name,) = run(snapshots.newest(main.folder))
    index = Index()
    run(snapshots.load(with_keys(main.folder, A), name, index))
    assert stored(main.folder, index) == expected
    with pytest.raises(KeyMissing, match=f"{name}: is encrypted with the key {KEY_A}"):
        run(snapshots.load(with_keys(main.folder, B), name, Index()))


def test_a_snapshot_whose_key_is_gone_is_ignored() -> None:
    main = serve(vault(A), 1)
    taken(main)
    main = serve(with_keys(main.folder, PLAIN, A), 2, "b", known=main.log.committed)
    main.put("k", "v")
    index = fresh_backup(with_keys(main.folder, A), 2, main.log.committed).index
    assert contents(index) == {"k": "v"}


def test_a_frame_that_was_changed_is_corruption() -> None:
    main = serve(vault(A), 1)
    filled(main)
    taken(main)
    (name,) = run(snapshots.newest(main.folder))
    content = main.folder.disk.content(name).visible
    length, _ = struct.unpack_from("<IQ", content, 4096)
    content[4096 + 12] ^= 1
    struct.pack_into("<Q", content, 4100, xxhash.xxh3_64_intdigest(bytes(content[4108 : 4108 + length])))
    with pytest.raises(Corruption, match=f"{name}: .* are not what was encrypted there"):
        run(snapshots.load(main.folder, name, Index()))


def test_the_position_of_a_batch_is_that_of_its_space() -> None:
    batch = batch_of([10])
    stands = encode(batch._replace(payload=encrypt(batch, cipher())), 77)
    assert len(stands) == encrypted.ENCRYPTED_HEADER_BYTES - HEADER_BYTES + len(encode(batch, 77)) + TAG_BYTES
    assert Position(7, 3, FIRST_OFFSET + len(stands)) > Position(7, 3, FIRST_OFFSET)


def test_keys_are_told_by_nothing_that_is_printed() -> None:
    assert A not in repr(Keys({KEY_A: bytes.fromhex(A)}, KEY_A))
