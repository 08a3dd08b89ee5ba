"""The registry: who owns which slot, and how one is given to another."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanas_core.members.liveness import LifeSign
from hanas_core.members.mailboxes import SLOTS, Box, Mailboxes, allocate
from hanas_core.members.registry import VACANT_AFTER, NoSlot, Registration, Registry, registered, vacant
from hanas_core.volume import blocks, names
from hanas_core.volume.blocking import run
from hanas_core.volume.errors import Corruption, FolderUnavailable, Missing
from tests.unit.core.memory_folder import Died, MemoryFolder, at_every_operation, interleave
from tests.unit.core.scenery import bare_folder, incarnation, shown

URLS = ("http://a:3001", "http://a:4001")


def with_mailboxes() -> MemoryFolder:
    folder = bare_folder()
    run(allocate(folder))
    folder.operations.clear()
    return folder


def full(folder: MemoryFolder) -> Registry:
    """Return one that knows that all slots are taken, by m0, m1 and so on."""
    return Registry(folder, [Registration(f"m{n}", n, *URLS, number=n) for n in range(SLOTS)])


def slot(folder: MemoryFolder, member: str, registry: Registry | None = None) -> int:
    return run((registry or Registry(folder)).slot_of(member, incarnation(member), *URLS))


def test_slots_are_given_in_order_and_for_ever() -> None:
    folder = bare_folder()
    assert [slot(folder, member) for member in "abcab"] == [0, 1, 2, 0, 1]
    folder.disk.crash()
    assert slot(folder.other(), "b") == 1
    assert [known.member for known in run(Registry(folder).update())] == ["a", "b", "c"]
    assert run(folder.names("tmp")) == []


def test_registrations_are_read_once() -> None:
    folder = bare_folder()
    registry = Registry(folder)
    slot(folder, "a", registry)
    slot(folder.other(), "b")
    folder.operations.clear()
    assert [known.member for known in run(registry.update())] == ["a", "b"]
    assert len(folder.log("read")) == 1
    run(registry.update())
    assert len(folder.log("read")) == 1


def given_but_not_durable(folder: MemoryFolder, member: str) -> None:
    """A member is given a slot, by somebody who does not come to make its name durable."""
    folder.at("sync_directory", names.MEMBERS, before=FolderUnavailable("input/output error"))
    with pytest.raises(FolderUnavailable):
        slot(folder, member)


def test_a_slot_that_was_found_cannot_be_forgotten_any_more() -> None:
    folder = bare_folder()
    given_but_not_durable(folder, "a")
    assert slot(folder, "a") == 0
    folder.disk.crash()
    assert [known.member for known in run(Registry(folder).update())] == ["a"]


def test_a_slot_that_the_file_server_forgot_is_given_anew() -> None:
    folder = bare_folder()
    given_but_not_durable(folder, "a")
    registry = Registry(folder)
    run(registry.update())
    folder.disk.crash()
    assert slot(folder, "a", registry) == 0
    folder.disk.crash()
    assert [known.member for known in run(Registry(folder).update())] == ["a"]


def test_who_shows_itself_in_a_slot_that_was_given_anew_is_seen_by_those_who_knew_the_other_one() -> None:
    folder = with_mailboxes()
    given_but_not_durable(folder, "a")
    registry, mailboxes = Registry(folder), Mailboxes(folder)
    run(registry.presence(mailboxes))
    folder.disk.crash()
    slot(folder, "b")
    run(mailboxes.write(Box.PRESENCE, 0, shown("b")))
    assert run(registry.presence(mailboxes)) == [shown("b")]


@settings(max_examples=60)
@given(st.lists(st.integers(0, 2), max_size=40))
def test_arriving_at_once_gives_each_member_its_own_slot(turns: list[int]) -> None:
    folder = bare_folder(suspends=True)
    arrivals = [Registry(folder.other(suspends=True)).slot_of(member, incarnation(member), *URLS) for member in "abb"]
    first, second, third = interleave(arrivals, turns)
    assert second == third
    assert {first, second} == {0, 1}


def test_a_member_that_dies_while_it_arrives_leaves_no_gap() -> None:
    def attempt(nth: int) -> bool:
        folder = bare_folder()
        folder.at(nth=nth, after=Died())
        try:
            slot(folder, "a")
            return True
        except Died:
            folder.disk.crash()
        slots = {slot(folder.other(), member) for member in "ba"}
        assert slots == {0, 1}
        return False

    at_every_operation(attempt)


def test_a_stale_look_up_does_not_give_a_second_slot() -> None:
    folder = bare_folder()
    slot(folder, "a")
    folder.stale.add(names.member(0))
    folder.at("refresh", before=lambda: None)
    assert slot(folder, "a") == 0
    late = folder.other()
    late.at("refresh", after=lambda: late.stale.add(names.member(0)))
    assert slot(late, "a") == 0


def test_whoever_shows_itself_is_known_although_look_ups_are_stale() -> None:
    """Otherwise the main would send it no keep-alives and answer none of its probes for as long as a cache lasts."""
    folder = with_mailboxes()
    for number, member in enumerate("abc"):
        slot(folder, member)
        run(Mailboxes(folder).write(Box.PRESENCE, number, shown(member)))
    late = folder.other()
    late.stale |= {names.member(1), names.member(2)}
    registry = Registry(late)
    assert run(registry.presence(Mailboxes(late))) == [shown("a"), shown("b"), shown("c")]
    assert [known.member for known in registry.registrations] == ["a", "b", "c"]


def test_a_block_in_a_slot_that_nobody_has_says_nothing() -> None:
    folder = with_mailboxes()
    slot(folder, "a")
    run(Mailboxes(folder).write(Box.PRESENCE, 0, shown("b")))
    run(Mailboxes(folder).write(Box.PRESENCE, 1, shown("b")))
    assert run(Registry(folder).presence(Mailboxes(folder))) == [None]


def test_the_last_slot_has_nothing_behind_it() -> None:
    folder = with_mailboxes()
    registry = full(folder)
    assert run(registry.presence(Mailboxes(folder))) == [None] * SLOTS


def test_all_slots_taken() -> None:
    folder = bare_folder()
    registry = full(folder)
    with pytest.raises(FolderUnavailable, match="slots are taken"):
        slot(folder, "a", registry)


def test_a_registration_that_cannot_be_read_is_not_the_end_of_the_list() -> None:
    folder = bare_folder()
    slot(folder, "a")
    folder.disk.spoil(names.member(0), 20, b"\xff")
    with pytest.raises(FolderUnavailable, match=r"members/000: offset 0 is rotten"):
        run(Registry(folder).update())


# ---------------------------------------------------------------------- slots that are given to another


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> MemoryFolder:
    """A folder with four slots, which belong to a, b, c and d."""
    monkeypatch.setattr("hanas_core.members.registry.SLOTS", 4)
    folder = with_mailboxes()
    for number, member in enumerate("abcd"):
        slot(folder, member)
        run(Mailboxes(folder).write(Box.PRESENCE, number, shown(member)))
    return folder


def owners(folder: MemoryFolder, registry: Registry | None = None) -> str:
    return "".join(known.member for known in run((registry or Registry(folder)).update()))


def give(folder: MemoryFolder, member: str, *slots: int) -> int:
    """Give ``member`` one of these slots, or its own."""
    registry = Registry(folder)
    present = run(registry.update())
    vacancies = [present[slot] for slot in slots]
    return run(registry.slot_of(member, incarnation(member), *URLS, vacancies))


@pytest.mark.parametrize(
    ("number", "registration", "flaw"),
    [
        (1, Registration("b", 3, *URLS), "is the registration of slot 3"),
        (1, Registration("../b", 1, *URLS), "registers '../b', which is no member id"),
        (1, Registration("b", 1, *URLS, given_by=(0, 1)), "takes a slot from another"),
        (4, Registration("e", 4, *URLS, given_by=(0, 1, 2, 3)), "is the registration of slot 4"),
        (4, Registration("e", -1, *URLS, given_by=(0, 1, 2, 4)), "is the registration of slot -1"),
        (4, Registration("e", 1, *URLS), "by which registration"),
        (4, Registration("e", 1, *URLS, given_by=(0, 4, 2, 3, 3)), "by which registration"),
        (4, Registration("e", 1, *URLS, given_by=(0, 4, 2, 7)), "by which registration"),
        (4, Registration("e", 1, *URLS, given_by=(0, 4, 2, -1)), "by which registration"),
        (4, Registration("e", 1, *URLS, given_by=(4, 1, 2, 3)), "by which registration"),
    ],
)
def test_a_registration_that_says_what_none_can_say_is_named(
    few: MemoryFolder, number: int, registration: Registration, flaw: str
) -> None:
    if number == 1:
        few.disk.spoil(names.member(number), 0, blocks.encode(registration))
    else:
        run(few.create(names.member(number), blocks.encode(registration)))
    with pytest.raises(Corruption, match=f"{names.member(number)}: the block at offset 0 .*{flaw}"):
        run(Registry(few).update())


def test_the_slot_of_a_member_that_is_gone_is_given_to_another(few: MemoryFolder) -> None:
    assert give(few, "e", 2, 1) == 2
    few.disk.crash()
    assert owners(few) == "abed"
    assert give(few, "e", 0) == 2, "who has a slot gets no other one"
    assert give(few, "c", 3) == 3, "who lost its slot arrives anew"
    assert owners(few) == "abec"
    assert run(few.names("tmp")) == []


def test_a_reader_needs_the_newest_registration_and_those_that_it_names(few: MemoryFolder) -> None:
    for number in range(40):
        give(few, f"n{number}", number % 3)
    late = few.other()
    registry = Registry(late)
    assert [known.member for known in run(registry.update())] == ["n39", "n37", "n38", "d"]
    assert len(late.log("read")) < 20
    late.operations.clear()
    run(registry.update())
    assert late.log("read") == []
    give(few, "x", 3)
    assert [known.member for known in run(registry.update())] == ["n39", "n37", "n38", "x"]


def test_the_new_owner_of_a_slot_is_known_when_it_shows_itself_although_look_ups_are_stale(few: MemoryFolder) -> None:
    late = few.other()
    registry, boxes = Registry(late), Mailboxes(late)
    run(registry.presence(boxes))
    assert give(few, "e", 1) == 1
    late.stale.add(names.member(4))
    assert run(registry.presence(boxes)) == [shown(member) for member in "abcd"]
    run(Mailboxes(few).write(Box.PRESENCE, 1, shown("e")))
    assert run(registry.presence(boxes)) == [shown(member) for member in "aecd"]


def test_a_former_owner_that_writes_late_says_nothing_and_is_looked_into_once(few: MemoryFolder) -> None:
    registry, boxes = Registry(few), Mailboxes(few)
    give(few, "e", 1)
    assert run(registry.presence(boxes)) == [shown("a"), None, shown("c"), shown("d")]
    few.operations.clear()
    assert run(registry.presence(boxes)) == [shown("a"), None, shown("c"), shown("d")]
    assert few.log("read") == ["read mailboxes/presence"]


def test_a_registration_that_the_file_server_forgot_leaves_the_slot_with_its_owner(few: MemoryFolder) -> None:
    few.at("sync_directory", names.MEMBERS, before=FolderUnavailable("input/output error"))
    with pytest.raises(FolderUnavailable):
        give(few, "e", 1)
    registry, boxes = Registry(few), Mailboxes(few)
    assert owners(few, registry) == "aecd"
    few.disk.crash()
    assert run(registry.presence(boxes)) == [shown(member) for member in "abcd"]
    assert give(few, "f", 2) == 2
    assert owners(few) == "abfd"


@pytest.mark.parametrize("by_another", [False, True])
def test_one_that_was_found_and_forgotten_is_given_anew(few: MemoryFolder, *, by_another: bool) -> None:
    few.at("sync_directory", names.MEMBERS, before=FolderUnavailable("input/output error"))
    with pytest.raises(FolderUnavailable):
        give(few, "e", 1)
    registry = Registry(few)
    vacancies = [run(registry.update())[3]]
    few.disk.crash()
    if by_another:
        assert give(few, "f", 0) == 0
    assert run(registry.slot_of("e", incarnation("e"), *URLS, vacancies)) == 3
    few.disk.crash()
    assert owners(few) == ("fbce" if by_another else "abce")


@settings(max_examples=60)
@given(st.lists(st.integers(0, 2), max_size=40))
def test_a_slot_is_given_to_one_of_those_who_arrive_at_once(turns: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hanas_core.members.registry.SLOTS", 2)
        folder = bare_folder(suspends=True)
        registry = Registry(folder.other())
        for member in "ab":
            run(registry.slot_of(member, incarnation(member), *URLS))
        gone = list(registry.registrations)
        arrivals = [
            Registry(folder.other(suspends=True)).slot_of(member, incarnation(member), *URLS, vacancies)
            for member, vacancies in (("x", gone), ("y", gone), ("y", gone[::-1]))
        ]
        first, second, third = interleave(arrivals, turns)
        assert second == third
        assert {first, second} == {0, 1}


def test_all_slots_belong_to_members_that_are_not_gone(few: MemoryFolder) -> None:
    vacancies = [run(Registry(few).update())[1]]
    give(few, "e", 1)
    with pytest.raises(NoSlot, match="all 4 member slots are taken: stop workers, `hanas forget` dead ones, or wait"):
        run(Registry(few).slot_of("f", incarnation("f"), *URLS, vacancies))


def test_the_slots_of_those_who_left_are_given_first_and_then_those_of_the_silent() -> None:
    def sign(silent: float, *, left: bool = False) -> LifeSign:
        return LifeSign(msgspec.structs.replace(shown("m"), left=left), alive=False, silent=silent, moved=False)

    signs = [
        sign(VACANT_AFTER),
        sign(VACANT_AFTER - 1),
        sign(3.0, left=True),
        sign(2 * VACANT_AFTER),
        sign(4.0, left=True),
        LifeSign(None, alive=False, silent=VACANT_AFTER + 1, moved=False),
    ]
    registrations = [Registration(f"m{n}", n, *URLS, number=n) for n in range(6)]
    assert [owner.slot for owner in vacant(registrations, signs)] == [4, 2, 3, 5, 0]


def test_a_registration_of_all_slots_fits_into_a_block() -> None:
    long = Registration("m" * 128, 255, "u" * 256, "u" * 256, tuple(range(10**6, 10**6 + 256)))
    assert len(blocks.encode(long)) == 4096


def test_the_owner_of_a_slot_is_told(few: MemoryFolder) -> None:
    assert run(registered(few, 1)).member == "b"
    give(few, "e", 1)
    assert [run(registered(few, slot)).member for slot in range(4)] == list("aecd")
    with pytest.raises(Missing, match="members/005"):
        run(registered(few, 5))
