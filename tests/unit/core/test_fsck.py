"""fsck finds every flipped bit, names the place, and tells which keys are touched."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanas_core.log.batches import FIRST_OFFSET
from hanas_core.log.cells import PART_BYTES
from hanas_core.log.claimfile import POINTER_OFFSET, SEAL_OFFSET
from hanas_core.log.positions import NOWHERE, Position
from hanas_core.log.segments import prepare, read_header
from hanas_core.members import cluster
from hanas_core.members.documents import LogPresence
from hanas_core.members.mailboxes import Box, Mailboxes
from hanas_core.members.witness import Witness
from hanas_core.state.judge import Write
from hanas_core.upkeep.findings import Finding, FolderReport
from hanas_core.upkeep.fsck import check
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.blocks import pack
from hanas_core.volume.errors import NotInitialised
from hanas_core.volume.folder import BLOCK_BYTES
from tests.unit.core.memory_folder import Disk, MemoryFolder
from tests.unit.core.scenery import FOLDER_ID, SEGMENT_BYTES, Main, claim_of, serve, shown, win
from tests.unit.core.test_compaction import compact, fill, manifest_of
from tests.unit.core.test_snapshots import write_snapshot


def initialised() -> MemoryFolder:
    folder = MemoryFolder(Disk())
    run(cluster.initialise(folder, FOLDER_ID))
    return folder


def eventful(*, snapshot: bool = False) -> Main:
    """A folder with all that there is: takeovers, re-logged writes, a merged segment, a delete, idempotency keys."""
    folder = initialised()
    first = serve(folder, 1)
    fill(first, "a", "b", "gone", "c", "a")
    first.write(Write(b"gone", None))
    first.append("unknown", "x")
    second = serve(folder, 2, "b")
    second.write(Write(b"once", b"1", idempotency_key="i"))
    fill(second, "b", "c", "d", "e")
    third = run(compact(second, 1))
    third.put("last", "1")
    if snapshot:
        write_snapshot(third)
    third.put("very-last", "1")
    return third


def errors(report: FolderReport) -> list[Finding]:
    return [finding for finding in report.findings if finding.severity == "error"]


def test_a_good_folder_has_no_errors() -> None:
    report = run(check(eventful(snapshot=True).folder))
    assert errors(report) == []
    assert report.errors == 0
    assert (report.epoch, report.keys) == (3, 9)
    assert report.segments >= 4
    assert report.log_bytes >= report.segments * BLOCK_BYTES
    assert report.records > report.keys
    # The write whose outcome nobody knew stands behind the cut of epoch 1: re-logged, and no finding.
    assert all(finding.name.startswith((names.TEMPORARY, names.SEGMENTS)) for finding in report.findings)


def test_a_log_that_rolled_and_one_that_was_re_logged_have_no_findings() -> None:
    folder = initialised()
    main = serve(folder, 1)
    fill(main, "a", "b", "c", "d")
    report = run(check(folder))
    assert (report.segments, report.keys) == (2, 4)
    serve(folder, 2, "b")  # knows of no commit position, so that the end of epoch 1 stands behind its cut
    assert run(check(folder)).keys == 4
    found = {finding.name for finding in run(check(folder)).findings if not finding.name.startswith(names.TEMPORARY)}
    assert found == {names.segment(1, 3)}, "a name that was taken ahead"


def test_an_empty_folder_and_a_first_claim() -> None:
    folder = initialised()
    assert run(check(folder)).findings == []
    win(folder, 1)
    report = run(check(folder))
    assert (report.findings, report.epoch) == ([], 0)


def test_another_directory_is_none_of_ours() -> None:
    with pytest.raises(NotInitialised):
        run(check(MemoryFolder(Disk())))


def relevant_files(folder: MemoryFolder) -> list[str]:
    directories = (names.CLAIMS, names.MANIFESTS, names.SEGMENTS, names.SNAPSHOTS, names.MAILBOXES)
    return [f"{directory}/{base}" for directory in directories for base in run(folder.names(directory))]


FOLDER = eventful(snapshot=True).folder
BEFORE = run(check(FOLDER)).findings


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_flipped_bit_is_found_and_its_file_is_named(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(relevant_files(FOLDER)))
    content = FOLDER.disk.content(name)
    at = data.draw(st.integers(0, len(content.visible) - 1))
    flipped = bytes([content.visible[at] ^ (1 << data.draw(st.integers(0, 7)))])
    kept = bytes(content.visible[at : at + 1])
    orphans = {finding.name for finding in BEFORE if "orphan" in finding.what}
    FOLDER.disk.spoil(name, at, flipped)
    try:
        found = [finding for finding in run(check(FOLDER)).findings if finding not in BEFORE]
    finally:
        FOLDER.disk.spoil(name, at, kept)
    if name in orphans:
        return
    assert found, f"{name} at {at}"
    assert any(finding.name == name for finding in found)


@pytest.mark.parametrize("snapshot", [False, True])
def test_the_keys_of_a_damaged_batch_are_named(*, snapshot: bool) -> None:
    main = eventful(snapshot=snapshot)
    entry = main.replica.index.get(b"once")
    assert entry is not None
    name = names.segment(*entry.place[:2])
    main.folder.disk.spoil(name, entry.place.offset, b"\xff")
    (finding,) = errors(run(check(main.folder)))
    assert finding.name == name
    assert "once" in finding.keys
    assert "damaged batch" in finding.what


def test_a_key_that_was_overwritten_later_is_not_touched() -> None:
    folder = initialised()
    main = serve(folder, 1)
    main.put("k", "old")
    at = main.log.end
    main.put("k", "second")
    main.put("k", "new")
    folder.disk.spoil(names.segment(1, 1), at + 80, b"\xff\xff")
    (finding,) = errors(run(check(folder)))
    assert finding.keys == ()
    assert (finding.name, finding.offset) == (names.segment(1, 1), at)


def test_zeros_in_the_middle_of_the_log_are_found() -> None:
    main = eventful(snapshot=True)
    entry = main.replica.index.get(b"d")
    assert entry is not None
    name = names.segment(*entry.place[:2])
    main.folder.disk.spoil(name, FIRST_OFFSET, bytes(200))
    (finding,) = errors(run(check(main.folder)))
    assert "nothing where a batch was" in finding.what
    assert finding.offset == FIRST_OFFSET


def test_a_torn_tail_is_a_note() -> None:
    folder = initialised()
    main = serve(folder, 1)
    main.put("k", "1")
    end = main.log.end
    main.append("torn", "2" * 900)
    folder.disk.spoil(names.segment(1, 1), end + 500, bytes(600))
    report = run(check(folder))
    (finding,) = [finding for finding in report.findings if "torn" in finding.what]
    assert (finding.severity, finding.name) == ("note", names.segment(1, 1))
    assert report.errors == 0
    assert report.keys == 1


@pytest.mark.parametrize("snapshot", [False, True])
def test_a_missing_segment_is_named_with_the_keys_that_a_snapshot_knows(*, snapshot: bool) -> None:
    main = eventful(snapshot=snapshot)
    entry = main.replica.index.get(b"e")
    assert entry is not None
    name = names.segment(*entry.place[:2])
    run(main.folder.remove(name))
    missing = next(finding for finding in errors(run(check(main.folder))) if finding.name == name)
    assert missing.what.startswith("missing")
    assert ("e" in missing.keys) == snapshot


def test_writes_that_are_missing_are_named() -> None:
    folder = initialised()
    main = serve(folder, 1)
    main.put("a", "1")
    main.commits.next_sequence += 3  # as no main of ours would write it
    main.replica.index.sequence += 3
    main.put("b", "1")
    (finding,) = errors(run(check(folder)))
    assert "writes 2 to 4 are missing" in finding.what


def spoil(what: Callable[[Main], None]) -> list[Finding]:
    main = eventful()
    what(main)
    return errors(run(check(main.folder)))


def test_a_header_that_is_gone_or_anothers() -> None:
    name = names.segment(1, 1)
    assert any("without its header" in finding.what for finding in spoil(lambda main: zero(main, name)))
    assert any("holds no SegmentHeader" in finding.what for finding in spoil(lambda main: rubbish(main, name)))

    def another(main: Main) -> None:
        header = run(read_header(main.folder, 1, 1))
        main.folder.disk.spoil(name, 0, pack(msgspec.json.encode(msgspec.structs.replace(header, number=7))))

    assert any("is segment 1/7" in finding.what for finding in spoil(another))


def zero(main: Main, name: str) -> None:
    main.folder.disk.spoil(name, 0, bytes(BLOCK_BYTES))


def rubbish(main: Main, name: str) -> None:
    main.folder.disk.spoil(name, 0, pack(b"{}"))


def test_claims_that_are_gone_zero_or_anothers() -> None:
    name = names.claim(1)
    (gone,) = spoil(lambda main: run(main.folder.remove(name)))
    assert (gone.name, gone.what[:7]) == (name, "missing")
    (empty,) = spoil(lambda main: zero(main, name))
    assert "is zero" in empty.what
    other = pack(msgspec.json.encode(claim_of(9)))
    (strange,) = spoil(lambda main: main.folder.disk.spoil(name, 0, other))
    assert "claims epoch 9" in strange.what


def test_one_copy_of_a_pointer_is_enough_but_both_are_checked() -> None:
    name = names.claim(3)
    (finding,) = spoil(lambda main: main.folder.disk.spoil(name, POINTER_OFFSET + 20, b"\xff"))
    assert finding.offset == POINTER_OFFSET

    def both_copies(main: Main) -> None:
        for at in (20, 2068):
            main.folder.disk.spoil(name, POINTER_OFFSET + at, b"\xff")

    both = spoil(both_copies)
    assert len([finding for finding in both if finding.name == name]) == 2


def test_a_seal_that_is_damaged_is_named() -> None:
    (finding,) = spoil(lambda main: main.folder.disk.spoil(names.claim(1), SEAL_OFFSET + 30, b"\xff"))
    assert (finding.name, finding.offset) == (names.claim(1), SEAL_OFFSET)


def test_a_manifest_that_is_gone_is_named_and_one_that_nobody_names_is_a_note() -> None:
    main = eventful()
    manifest = f"{names.MANIFESTS}/{run(main.folder.names(names.MANIFESTS))[0]}"
    run(main.folder.create(f"{names.MANIFESTS}/0000000009-{'a' * 32}", b""))
    run(main.folder.remove(manifest))
    report = run(check(main.folder))
    (finding,) = errors(report)
    assert finding.name == manifest
    assert any("was not finished" in finding.what for finding in report.findings)


def test_mailboxes_and_members_are_checked() -> None:
    found = spoil(lambda main: run(main.folder.remove(f"{names.MAILBOXES}/{Box.PROBES}")))
    assert [finding.name for finding in found] == [f"{names.MAILBOXES}/{Box.PROBES}"]
    found = spoil(lambda main: run(main.folder.create(names.member(0), b"\1" * BLOCK_BYTES)))
    assert [(finding.name, finding.what) for finding in found] == [(names.member(0), "this block is damaged")]


def test_a_damaged_snapshot_is_named_and_costs_no_key() -> None:
    main = eventful(snapshot=True)
    (base,) = run(main.folder.names(names.SNAPSHOTS))
    main.folder.disk.spoil(f"{names.SNAPSHOTS}/{base}", BLOCK_BYTES + 15, b"\xff")
    (finding,) = errors(run(check(main.folder)))
    assert "costs nothing but time" in finding.what
    assert finding.keys == ()


def test_orphans_and_temporary_files_are_notes() -> None:
    main = eventful()
    spare = run(prepare(main.folder, "a", "a" * 32, SEGMENT_BYTES))
    run(main.folder.create(names.segment(1, 77), b""))
    notes = {finding.name: finding.what for finding in run(check(main.folder)).findings}
    assert "temporary" in notes[spare]
    assert "orphan" in notes[names.segment(1, 77)]
    assert manifest_of(main.folder, 3).cuts


def test_a_value_that_is_not_what_its_checksum_says() -> None:
    """Only a program can write such a thing: the checksum of the batch is right."""
    folder = initialised()
    main = serve(folder, 1)
    main.commits.submit(Write(b"k", bytes(PART_BYTES // 8)), "k")
    batch = main.commits.next_batch(main.log.room)
    assert batch is not None
    run(main.log.commit(batch._replace(payload=batch.payload[:-1] + b"x")))
    (finding,) = errors(run(check(folder)))
    assert finding.keys == ("k",)


def test_a_batch_whose_records_cannot_be_read() -> None:
    """Likewise."""
    folder = initialised()
    main = serve(folder, 1)
    main.commits.submit(Write(b"k", b"v"), "k")
    batch = main.commits.next_batch(main.log.room)
    assert batch is not None
    run(main.log.commit(batch._replace(payload=b"\4\0\0\0\xff\xff\xff\xff")))
    (finding,) = errors(run(check(folder)))
    assert (finding.name, finding.offset) == (names.segment(1, 1), FIRST_OFFSET)
    assert "cannot be read" in finding.what


def test_a_snapshot_under_another_ones_name_is_an_error() -> None:
    folder = eventful(snapshot=True).folder
    (base,) = run(folder.names(names.SNAPSHOTS))
    other = base[:-1] + ("1" if base[-1] == "0" else "0")
    run(folder.link(f"{names.SNAPSHOTS}/{base}", f"{names.SNAPSHOTS}/{other}"))
    run(folder.remove(f"{names.SNAPSHOTS}/{base}"))
    (finding,) = [finding for finding in run(check(folder)).findings if finding.severity == "error"]
    assert (finding.name, finding.offset) == (f"{names.SNAPSHOTS}/{other}", 0)
    assert "is the snapshot at 3/" in finding.what


def test_what_members_know_and_the_folder_has_lost_is_an_error() -> None:
    main = eventful()
    folder, end = main.folder, main.log.end
    reached = Position(3, main.log.cuts[-1].number, end)

    def told(known: Witness) -> list[tuple[str, int | None]]:
        block = msgspec.structs.replace(shown("a"), logs=(LogPresence(witness=known),))
        run(Mailboxes(folder).write(Box.PRESENCE, 0, block))
        return [(finding.name, finding.offset) for finding in errors(run(check(folder)))]

    for committed in (NOWHERE, Position(2, 9, 1 << 20), reached):
        assert told(Witness(FOLDER_ID, 3, committed)) == []
    assert told(Witness(FOLDER_ID, 3, reached._replace(offset=end + 8))) == [(names.segment(*reached[:2]), end)]
    assert told(Witness(FOLDER_ID, 3, Position(4, 1, FIRST_OFFSET))) == [(names.claim(4), POINTER_OFFSET)]
    assert told(Witness(FOLDER_ID, 4, reached)) == [(names.claim(4), None)]
    assert told(Witness("0" * 32, 4, reached)) == [], "it is known of another folder"
