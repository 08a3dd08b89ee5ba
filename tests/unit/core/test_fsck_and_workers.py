"""What keeps a worker from starting, or a takeover from succeeding, is an error of fsck that names the file."""

import os
import socket
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import msgspec
import pytest

from hanas_core.epochs import arbitration
from hanas_core.epochs.arbitration import Arrival
from hanas_core.log import claims
from hanas_core.members import cluster
from hanas_core.members.mailboxes import Box, Canary, Mailboxes
from hanas_core.members.registry import Registration, Registry
from hanas_core.state.replica import Replica
from hanas_core.upkeep.findings import FolderReport
from hanas_core.upkeep.fsck import check
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.blocks import pack, unpack
from hanas_core.volume.errors import Corruption, FolderError
from hanas_core.volume.folder import BLOCK_BYTES
from hanas_core.volume.posix import PosixFolder
from tests.unit.core.memory_folder import Directory, MemoryFolder
from tests.unit.core.scenery import FOLDER_ID, claim_of, incarnation, stored, take_over
from tests.unit.core.test_fsck import errors, eventful

OTHER_FOLDER = "e" * 32
SEGMENT = names.segment(3, 1)
"""The first segment of the newest epoch."""


def inhabited() -> MemoryFolder:
    """A folder with all that there is, and with three members."""
    folder = eventful(snapshot=True).folder
    for slot, member in enumerate("abc"):
        arrival = Arrival(member, incarnation(member), FOLDER_ID, f"http://{member}:3001", f"http://{member}:4001")
        place = run(arbitration.arrive(folder, Registry(folder), arrival, folder_id=FOLDER_ID, now=""))
        assert place.slot == slot
        run(Mailboxes(folder).write(Box.CANARIES, slot, Canary("c" * 32)))
    for base in run(folder.names(names.TEMPORARY)):
        run(folder.remove(f"{names.TEMPORARY}/{base}"))
    return folder


def live_through(folder: MemoryFolder) -> None:
    """Do what workers do: a known and a new one arrive and take over cold; the new main's values are all there."""
    folder_id = run(cluster.identify(folder)).folder_id
    registry = Registry(folder)
    for member in "cd":
        arrival = Arrival(member, "9" * 32, folder_id, f"http://{member}:3001", f"http://{member}:4001")
        slot = run(arbitration.arrive(folder, registry, arrival, folder_id=folder_id, now="")).slot
        mailboxes = Mailboxes(folder)
        assert run(mailboxes.try_canary(slot))
        for box in Box:
            run(mailboxes.read(box, 4, Canary))
        holder = run(claims.highest_claim(folder))
        assert holder is not None
        claim = msgspec.structs.replace(claim_of(holder.epoch + 1, member), folder_id=folder_id)
        assert run(claims.claim_epoch(folder, claim)) == claim
        replica = Replica()
        run(take_over(folder, claim, replica))
        assert len(stored(folder, replica.index)) == KEYS


KEYS = 9
WELL = inhabited()
FILES = [
    names.CLUSTER,
    *(
        f"{directory}/{base}"
        for directory in (
            names.CLAIMS,
            names.MANIFESTS,
            names.SEGMENTS,
            names.SNAPSHOTS,
            names.MAILBOXES,
            names.MEMBERS,
        )
        for base in run(WELL.names(directory))
    ),
]


def damaged(damage: Callable[[MemoryFolder, str], object], name: str) -> MemoryFolder:
    folder = MemoryFolder(deepcopy(WELL.disk))
    damage(folder, name)
    return folder


def cut_short(folder: MemoryFolder, name: str, share: float) -> None:
    content = folder.disk.content(name)
    del content.visible[int(len(content.visible) * share) :]
    content.durable = bytes(content.visible)


def replace_by_directory(folder: MemoryFolder, name: str) -> None:
    directory, base = folder.disk.parent(name)
    directory.visible[base] = Directory()


def flip(folder: MemoryFolder, name: str, at: int) -> None:
    folder.disk.spoil(name, at, bytes([folder.disk.content(name).visible[at] ^ 0x10]))


def make_foreign(folder: MemoryFolder, name: str) -> None:
    content = folder.disk.content(name).visible
    first = bytes(content[:BLOCK_BYTES])
    payload = unpack(first)
    changed = first.replace(FOLDER_ID.encode(), OTHER_FOLDER.encode())
    if isinstance(payload, bytes):
        changed = pack(payload.replace(FOLDER_ID.encode(), OTHER_FOLDER.encode()))
    folder.disk.spoil(name, 0, changed)


def every_block(folder: MemoryFolder, name: str, payload: bytes) -> None:
    """Put other JSON with a right checksum where a block is."""
    content = folder.disk.content(name).visible
    for at in range(0, min(len(content), 3 * BLOCK_BYTES), BLOCK_BYTES):
        if isinstance(unpack(bytes(content[at : at + BLOCK_BYTES])), bytes):
            folder.disk.spoil(name, at, pack(payload))


DAMAGES: dict[str, Callable[[MemoryFolder, str], object]] = {
    "zeroed": lambda folder, name: folder.disk.spoil(name, 0, bytes(len(folder.disk.content(name).visible))),
    "its first block zeroed": lambda folder, name: folder.disk.spoil(name, 0, bytes(BLOCK_BYTES)),
    "a byte flipped in its head": lambda folder, name: flip(folder, name, 9),
    "a byte flipped in its content": lambda folder, name: flip(folder, name, 30),
    "a byte flipped in its second block": lambda folder, name: flip(
        folder, name, min(BLOCK_BYTES + 30, len(folder.disk.content(name).visible) - 1)
    ),
    "empty": lambda folder, name: cut_short(folder, name, 0),
    "half gone": lambda folder, name: cut_short(folder, name, 0.5),
    "its last bytes gone": lambda folder, name: cut_short(folder, name, 0.99),
    "removed": lambda folder, name: run(folder.remove(name)),
    "a directory": replace_by_directory,
    "another folder's": make_foreign,
    "other JSON": lambda folder, name: every_block(folder, name, b"[]"),
    "JSON of the wrong types": lambda folder, name: every_block(
        folder, name, b'{"folderId":1,"epoch":"1","number":[],"size":-4096,"slot":-1,"member":null,"nonce":0}'
    ),
}


def test_a_folder_that_works_has_no_errors() -> None:
    folder = MemoryFolder(deepcopy(WELL.disk))
    assert errors(run(check(folder))) == []
    live_through(folder)
    assert errors(run(check(folder))) == []


def verdict(folder: MemoryFolder) -> tuple[list[str], str]:
    """Return the files that fsck calls damaged, and all that it says."""
    report = run(check(folder)) if is_ours(folder) else FolderReport()
    if not is_ours(folder):
        report.error(names.CLUSTER, None, "`hanas fsck` ends with an error that names it")
    return [finding.name for finding in errors(report)], str(report.findings)


def is_ours(folder: MemoryFolder) -> bool:
    try:
        run(cluster.identify(folder))
    except FolderError as error:
        return names.CLUSTER not in str(error)
    return True


def trouble_of_workers(folder: MemoryFolder) -> str | None:
    """Return what stops a worker, or makes it lose what was acknowledged; None if all goes well."""
    try:
        live_through(folder)
    except (FolderError, AssertionError) as error:
        return str(error) or repr(error)
    return None


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "name",
    FILES,
    ids=[name[:20] + name[20:32].rpartition("-")[0] if name.startswith(names.MANIFESTS) else name for name in FILES],
)
def test_what_stops_a_worker_is_an_error_that_names_the_file(name: str, damage: str) -> None:
    folder = damaged(DAMAGES[damage], name)
    named, words = verdict(MemoryFolder(deepcopy(folder.disk)))
    stopped = trouble_of_workers(folder)
    culprits = named if name == names.CLUSTER else [name]  # with another id, it is all others that are foreign
    assert stopped is None or set(culprits).intersection(named), f"a worker says: {stopped}; fsck says: {words}"


@pytest.mark.parametrize("moment", ["claims", "manifests", "segments", "mailboxes", "members"])
def test_a_member_that_dies_at_any_moment_leaves_no_error(moment: str) -> None:
    """A power cut in the middle of any change of the folder leaves notes at most."""
    for nth in range(1, 40):
        folder = MemoryFolder(deepcopy(WELL.disk))
        folder.at(None, moment, nth, before=FolderError("the power is cut"))
        try:
            live_through(folder)
        except FolderError:
            pass
        else:
            assert nth > 1
            return
        folder.disk.crash()
        assert errors(run(check(folder))) == [], f"{moment}, operation {nth}"


# ---------------------------------------------------------------------- who is registered, and what was never written


def registered(*registrations: Registration | None) -> FolderReport:
    folder = MemoryFolder(deepcopy(WELL.disk))
    for slot, registration in enumerate(registrations):
        run(folder.remove(names.member(slot)))
        if registration is not None:
            run(folder.create(names.member(slot), pack(msgspec.json.encode(registration))))
    return run(check(folder))


def member(name: str, slot: int) -> Registration:
    return Registration(name, slot, "http://a:1", "http://a:2")


def test_registrations_are_read() -> None:
    assert errors(registered(member("x", 0), member("y", 1))) == []
    (gap,) = errors(registered(member("x", 0), None))
    assert (gap.name, "registrations 1 to 1" in gap.what) == (names.member(1), True)
    (slot,) = errors(registered(member("x", 1)))
    assert (slot.name, slot.what) == (names.member(0), "is the registration of slot 1")
    (twice,) = errors(registered(member("x", 0), member("x", 1)))
    assert (twice.name, twice.what) == (names.member(1), "registers x, as members/000 does")
    (no_id,) = errors(registered(member("../x", 0)))
    assert "no member id" in no_id.what


def test_a_worker_refuses_the_registration_of_another_slot() -> None:
    folder = MemoryFolder(deepcopy(WELL.disk))
    folder.disk.spoil(names.member(1), 0, pack(msgspec.json.encode(member("b", 7))))
    with pytest.raises(Corruption, match=r"members/001: .* is the registration of slot 7"):
        run(Registry(folder).update())


def test_strange_names_are_notes_and_delay_nothing() -> None:
    folder = MemoryFolder(deepcopy(WELL.disk))
    strange = ["claims/²", "claims/x", "members/0256", "members/x", "mailboxes/x", "segments/x", "snapshots/x"]
    left = ["claims/.refresh-1", "snapshots/.refresh-2", "tmp/.refresh-3"]
    for name in (*strange, *left):
        run(folder.create(name, b""))
    findings = run(check(folder)).findings
    assert {finding.severity for finding in findings} == {"note"}
    assert {finding.name for finding in findings if finding.what.startswith("strange")} == set(strange)
    assert {finding.name for finding in findings if finding.what.startswith("left behind")} == set(left)
    run(folder.create("claims/9999999999", bytes(3 * BLOCK_BYTES)))
    gap, zero = errors(run(check(folder)))
    assert (gap.name, "4 to 9999999998" in gap.what) == (names.claim(4), True)
    assert zero.name == "claims/9999999999"


def test_what_a_loss_of_power_may_tear_is_a_note() -> None:
    folder = MemoryFolder(deepcopy(WELL.disk))
    box = f"{names.MAILBOXES}/{Box.CANARIES}"
    folder.disk.spoil(box, 20, b"\xff")
    folder.disk.spoil(box, BLOCK_BYTES + 4000, b"\xff")
    folder.disk.spoil(box, 200 * BLOCK_BYTES, pack(b'{"nonce":"c"}'))
    folder.disk.spoil(names.claim(3), 2 * BLOCK_BYTES, b"\xff" * 512)
    report = run(check(folder))
    assert errors(report) == []
    notes = {(finding.name, finding.offset): finding.what for finding in report.findings}
    assert "says nothing to anyone" in notes[box, 0]
    assert "bytes behind the end of this block" in notes.values()
    assert notes[box, 200 * BLOCK_BYTES] == "slot 200 belongs to nobody"
    assert "torn" in notes[names.claim(3), 2 * BLOCK_BYTES]


def test_a_directory_that_is_gone_is_named() -> None:
    folder = MemoryFolder(deepcopy(WELL.disk))
    del folder.disk.root.visible[names.MEMBERS]
    (finding,) = errors(run(check(folder)))
    assert (finding.name, finding.what[:7]) == (names.MEMBERS, "missing")


@pytest.mark.parametrize(
    ("header", "stops"),
    [(bytes(BLOCK_BYTES), False), (b"x" * BLOCK_BYTES, True), (pack(b"[]"), True)],
    ids=["zero", "rotten", "of another kind"],
)
def test_what_stands_where_the_log_would_go_on_is_checked(header: bytes, *, stops: bool) -> None:
    folder = MemoryFolder(deepcopy(WELL.disk))
    number = 1 + sum(base.startswith(f"{3:010d}-") for base in run(folder.names(names.SEGMENTS)))
    name = names.segment(3, number)
    run(folder.create(name, header))
    assert [(finding.name, finding.offset) for finding in errors(run(check(folder)))] == [(name, 0)] * stops


def test_what_is_no_file_where_the_log_would_go_on_is_an_error() -> None:
    folder = MemoryFolder(deepcopy(WELL.disk))
    number = 1 + sum(base.startswith(f"{3:010d}-") for base in run(folder.names(names.SEGMENTS)))
    name = names.segment(3, number)
    folder.at("open", name, before=Corruption(f"{name}: is a directory"))
    (finding,) = errors(run(check(folder)))
    assert (finding.name, "the name of the next segment is taken" in finding.what) == (name, True)


# ---------------------------------------------------------------------- what is no file


@pytest.fixture
def folder(tmp_path: Path) -> PosixFolder:
    made = PosixFolder(tmp_path)
    run(cluster.initialise(made, FOLDER_ID))
    return made


def bind_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


def link_out(path: Path) -> None:
    target = path.parents[1] / "elsewhere"
    target.write_bytes(bytes(3 << 20))
    path.symlink_to(target)


NO_FILES: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a socket": bind_socket,
    "a directory": Path.mkdir,
    "a symbolic link": link_out,
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("name", [names.claim(1), names.member(0), f"{names.MAILBOXES}/{Box.PROBES}"])
def test_what_is_no_file_is_an_error_and_waits_for_nobody(folder: PosixFolder, name: str, kind: str) -> None:
    (folder.path / name).unlink(missing_ok=True)
    NO_FILES[kind](folder.path / name)
    for access in ("read", "append", "blocks"):
        with pytest.raises(Corruption, match=f"{name}: is .* a regular file was expected; find out who"):
            run(folder.open(name, access))
    assert [finding.name for finding in errors(run(check(folder)))] == [name]


@pytest.fixture
def without_file(folder: PosixFolder) -> PosixFolder:
    (folder.path / names.CLUSTER).unlink()
    return folder


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", NO_FILES)
def test_an_identity_that_is_no_file_is_named(without_file: PosixFolder, kind: str) -> None:
    NO_FILES[kind](without_file.path / names.CLUSTER)
    with pytest.raises(Corruption, match=f"{names.CLUSTER}: is .* a regular file was expected"):
        run(check(without_file))
