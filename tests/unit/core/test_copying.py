"""A copy of a folder in use: everything that was acknowledged before it began, and nothing that may vanish."""

from collections.abc import Iterable

import pytest

from hanas_core.log.positions import Position
from hanas_core.members import cluster
from hanas_core.members.documents import LogPresence, Presence
from hanas_core.members.mailboxes import Box, Mailboxes
from hanas_core.members.registry import Registry
from hanas_core.members.witness import Witness
from hanas_core.state.judge import Write
from hanas_core.upkeep import copying
from hanas_core.upkeep.archive import Item
from hanas_core.upkeep.copying import Commitment, FolderCopy
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.errors import Corruption, Missing
from hanas_core.volume.folder import Folder
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import FOLDER_ID, Main, incarnation, promoted, serve, win


def new_folder() -> MemoryFolder:
    folder = MemoryFolder()
    run(cluster.initialise(folder, FOLDER_ID))
    return folder


def show(folder: Folder, counter: int, committed: Position, member: str = "a") -> None:
    """Have a member show itself."""
    url = "http://a:1"
    slot = run(Registry(folder).slot_of(member, incarnation(member), url, url))
    block = Presence(
        member=member,
        incarnation=incarnation(member),
        counter=counter,
        advertise_url=url,
        link_url=url,
        logs=(LogPresence(witness=Witness(FOLDER_ID, committed.epoch, committed)),),
    )
    run(Mailboxes(folder).write(Box.PRESENCE, slot, block))


def committed(main: Main) -> Position:
    assert main.log.committed is not None
    return main.log.committed


def read(main: Main, position: Position | None = None) -> FolderCopy:
    copy = FolderCopy(main.folder.other())
    run(copy.read(position or committed(main)))
    return copy


def taken(copy: FolderCopy) -> list[Item]:
    everything: list[Item] = []
    while items := run(copy.take()):
        everything += items
    return everything


def values(items: Iterable[Item]) -> dict[str, bytes]:
    return {item.key: item.value for item in items}


def test_what_is_committed_counts_when_the_main_has_shown_it_since_the_first_look() -> None:
    main = serve(new_folder(), 1)
    main.put("a", "1")
    before = committed(main)
    commitment = Commitment(main.folder.other())
    assert run(commitment.look()) is None, "the main shows nothing at all"
    show(main.folder, 7, before)
    assert run(commitment.look()) is None
    main.put("b", "2")
    show(main.folder, 8, before)
    assert run(commitment.look()) is None, "this block was on its way when the copy began, and lacks the second write"
    show(main.folder, 9, committed(main))
    assert run(commitment.look()) == committed(main)


def test_a_main_that_came_meanwhile_holds_all_that_was_acknowledged_before() -> None:
    folder = new_folder()
    commitment = Commitment(folder.other())
    assert run(commitment.look()) is None, "nobody has claimed anything"
    main = serve(folder, 1)
    main.put("a", "1")
    show(folder, 1, committed(main))
    assert run(commitment.look()) is None
    claim = win(folder, 2, "b")
    show(folder, 1, committed(main), "b")
    assert run(commitment.look()) is None, "it knows of nothing committed in its own epoch"
    second = promoted(folder, claim)
    show(folder, 2, committed(second), "b")
    assert run(commitment.look()) == committed(second)


def test_a_former_main_that_shows_itself_again_says_nothing() -> None:
    folder = new_folder()
    main = serve(folder, 1)
    commitment = Commitment(folder.other())
    show(folder, 1, committed(main))
    assert run(commitment.look()) is None
    win(folder, 2, "b")
    show(folder, 9, committed(main))
    assert run(commitment.look()) is None, "the holder of the highest claim has not shown itself"


def test_all_keys_are_as_one_revision_left_them() -> None:
    main = serve(new_folder(), 1)
    main.put("a", "old")
    main.put("b", "to go")
    main.put("a", "new")
    main.write(Write(b"b", None))
    main.put("empty", "")
    large = "x" * 70_000
    big = serve(main.folder, 2, "b", segment_bytes=1 << 20)
    big.put("large", large)
    copy = read(big)
    big.put("a", "newer")
    items = taken(copy)
    assert (copy.revision, copy.keys, copy.applied.epoch) == (6, 3, 2)
    assert values(items) == {"a": b"new", "empty": b"", "large": large.encode()}
    assert {item.key: item.version for item in items} == {"a": "1-3", "empty": "1-5", "large": "2-6"}
    assert taken(copy) == []


def test_what_is_not_known_to_be_committed_is_left_out() -> None:
    main = serve(new_folder(), 1)
    main.put("a", "1")
    position = committed(main)
    main.append("b", "never acknowledged")
    assert values(taken(read(main, position))) == {"a": b"1"}


def test_several_segments_and_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_WINDOW_BYTES", 3000)
    main = serve(new_folder(), 1)
    expected = {}
    for number in range(20):
        main.spare()
        main.put(f"k{number}", f"{number}" * 1000)
        expected[f"k{number}"] = f"{number}".encode() * 1000
    assert committed(main).number > 1
    items = taken(read(main))
    assert values(items) == expected
    assert [item.key for item in items] == list(expected), "in the order of the log"


def test_segments_that_are_removed_meanwhile_are_still_read() -> None:
    main = serve(new_folder(), 1)
    main.put("a", "1")
    copy = read(main)
    run(main.folder.remove(names.segment(1, 1)))
    assert values(taken(copy)) == {"a": b"1"}
    with pytest.raises(Missing):
        read(main)


def test_a_pointer_that_is_gone_is_no_empty_folder() -> None:
    folder = new_folder()
    win(folder, 1)
    with pytest.raises(Corruption, match="block 1 at offset 4096 is gone, but 1/1/5000 was committed"):
        run(FolderCopy(folder).read(Position(1, 1, 5000)))


def test_a_rotten_value_is_never_copied() -> None:
    main = serve(new_folder(), 1)
    main.put("a", "value of a")
    copy = read(main)
    segment = names.segment(1, 1)
    at = bytes(main.folder.disk.content(segment).visible).index(b"value of a")
    main.folder.disk.spoil(segment, at, b"V")
    with pytest.raises(Corruption, match="are not the value that was written"):
        run(copy.take())
