"""Claims: exactly one holder per epoch, whatever is lost, repeated or interleaved."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanas_core.log.claimfile import POINTER_COPY_BYTES, POINTER_OFFSET, SEAL_OFFSET, Claim, Pointer, fits
from hanas_core.log.claims import claim_epoch, highest_claim, read_claim, read_pointer, write_pointer
from hanas_core.volume import names, reading
from hanas_core.volume.blocking import run
from hanas_core.volume.blocks import ZERO_BLOCK, Blank, pack
from hanas_core.volume.errors import Corruption, FolderUnavailable, Missing
from hanas_core.volume.folder import BLOCK_BYTES
from tests.unit.core.memory_folder import Died, MemoryFolder, at_every_operation, interleave
from tests.unit.core.scenery import bare_folder, claim_of, win

POINTER = Pointer("manifests/0000000001-" + "a" * 32, BLOCK_BYTES, 2**64 - 1)


def test_a_claim_is_durable_with_its_name_before_it_counts() -> None:
    folder = bare_folder()
    claim = win(folder, 1)
    temporary = folder.log("create")[0].split()[1]
    assert [line for line in folder.log() if "open" not in line] == [
        f"create {temporary}",
        f"link {names.claim(1)}",
        "sync_directory claims",
        "refresh claims",
        f"read {names.claim(1)}",
        f"remove {temporary}",
    ]
    folder.disk.crash()
    assert run(read_claim(folder, 1)) == claim


def test_a_claim_file_has_its_full_size_from_the_start() -> None:
    folder = bare_folder()
    win(folder, 1)
    assert bytes(folder.disk.content(names.claim(1)).durable[BLOCK_BYTES:]) == 2 * ZERO_BLOCK


@given(st.lists(st.integers(0, 1), max_size=16))
def test_of_two_claimants_exactly_one_wins_however_they_interleave(turns: list[int]) -> None:
    folder = bare_folder(suspends=True)
    other = folder.other(suspends=True)
    one, two = claim_of(1, "a"), claim_of(1, "b")
    first, second = interleave([claim_epoch(folder, one), claim_epoch(other, two)], turns)
    assert first == second
    assert first in (one, two)
    assert run(MemoryFolder(folder.disk).names("tmp")) == []


def test_a_claimant_that_is_overtaken_at_any_operation_learns_who_holds_the_epoch() -> None:
    def attempt(nth: int) -> bool:
        folder = bare_folder()
        mine, theirs = claim_of(1, "a"), claim_of(1, "b")
        holders: list[Claim] = []
        folder.at(nth=nth, before=lambda: holders.append(run(claim_epoch(folder.other(), theirs))))
        holder = run(claim_epoch(folder, mine))
        assert holders in ([], [holder])
        return not holders

    at_every_operation(attempt)


@pytest.mark.parametrize("answer", [True, False])
def test_what_link_answers_decides_nothing(answer: bool) -> None:
    folder = bare_folder()
    mine = claim_of(1, "a")
    folder.at("link", answer=answer)
    assert run(claim_epoch(folder, mine)) == mine
    late = folder.other()
    late.at("link", answer=answer)
    assert run(claim_epoch(late, claim_of(1, "b"))) == mine


def test_two_incarnations_of_one_member_are_two_claimants() -> None:
    folder = bare_folder()
    mine = win(folder, 1)
    again = claim_of(1)
    assert again.nonce != mine.nonce
    assert run(claim_epoch(folder, again)) == mine


def test_a_claimant_that_dies_anywhere_leaves_a_whole_claim_or_none() -> None:
    def attempt(nth: int) -> bool:
        folder = bare_folder()
        mine, theirs = claim_of(1, "a"), claim_of(1, "b")
        folder.at(nth=nth, after=Died())
        try:
            run(claim_epoch(folder, mine))
            return True
        except Died:
            folder.disk.crash()
        assert run(claim_epoch(folder.other(), theirs)) in (mine, theirs)
        return False

    at_every_operation(attempt)


def test_a_claim_that_was_read_back_survives_the_server() -> None:
    def attempt(nth: int) -> bool:
        folder = bare_folder()
        mine = claim_of(1)
        folder.at(nth=nth, before=folder.disk.crash)
        try:
            won = run(claim_epoch(folder, mine)) == mine
        except Missing:
            won = False
        folder.disk.crash()
        if won:
            assert run(read_claim(folder, 1)) == mine
        return folder.planned

    at_every_operation(attempt)


def test_the_read_back_asks_again_when_a_cached_look_up_says_there_is_nothing() -> None:
    folder = bare_folder()
    folder.stale.add(names.claim(1))
    win(folder, 1)


def test_a_claim_must_be_what_its_name_says() -> None:
    folder = bare_folder()
    win(folder, 1)
    run(folder.link(names.claim(1), names.claim(2)))
    with pytest.raises(Corruption, match=r"claims/0000000002: block 0 at offset 0 claims epoch 1"):
        run(read_claim(folder, 2))
    folder.disk.spoil(names.claim(1), 30, b"\xff")
    with pytest.raises(Corruption, match="rotten"):
        run(read_claim(folder, 1))
    folder.disk.spoil(names.claim(1), 0, ZERO_BLOCK)
    with pytest.raises(Corruption, match="zero"):
        run(read_claim(folder, 1))


def test_a_claim_that_cannot_be_read_is_not_a_missing_one() -> None:
    folder = bare_folder()
    win(folder, 1)
    folder.at("read", before=FolderUnavailable("no answer"))
    with pytest.raises(FolderUnavailable):
        run(highest_claim(folder))


def test_a_claim_fits_with_some_evidence_but_not_with_any() -> None:
    claim = claim_of(1)
    assert fits(claim)
    long = msgspec.structs.replace(claim, evidence=msgspec.Raw(msgspec.json.encode("e" * 4000)))
    assert not fits(long)
    with pytest.raises(ValueError, match="do not fit"):
        run(claim_epoch(bare_folder(), long))


@settings(max_examples=30)
@given(st.integers(0, 40), st.integers(0, 40))
def test_the_highest_claim_is_found_from_any_epoch_that_exists(count: int, start: int) -> None:
    folder = bare_folder()
    claims = [win(folder, epoch) for epoch in range(1, count + 1)]
    found = run(highest_claim(folder, min(start, count)))
    assert found == (claims[-1] if claims else None)


def test_the_search_for_the_highest_claim_asks_past_cached_look_ups() -> None:
    folder = bare_folder()
    win(folder, 1)
    folder.stale.add(names.claim(1))
    assert run(highest_claim(folder)) is not None


def test_a_claim_that_was_found_cannot_be_forgotten_any_more() -> None:
    folder = bare_folder()
    folder.at("sync_directory", names.CLAIMS, before=FolderUnavailable("the overseer died"))
    with pytest.raises(FolderUnavailable):
        win(folder, 1)
    found = run(highest_claim(folder.other()))
    folder.disk.crash()
    assert run(highest_claim(folder)) == found is not None


def test_a_claim_that_is_forgotten_while_it_is_found_is_not_found() -> None:
    folder = bare_folder()
    folder.at("sync_directory", names.CLAIMS, before=FolderUnavailable("the overseer died"))
    with pytest.raises(FolderUnavailable):
        win(folder, 1)
    folder.at("sync_directory", names.CLAIMS, before=folder.disk.crash)
    with pytest.raises(Missing):
        run(highest_claim(folder))


def test_a_claim_that_is_forgotten_while_it_is_found_is_not_found_in_a_cache_of_names() -> None:
    folder = bare_folder()
    folder.at("sync_directory", names.CLAIMS, before=FolderUnavailable("the overseer died"))
    with pytest.raises(FolderUnavailable):
        win(folder, 1)
    folder.remembers = True
    folder.at("sync_directory", names.CLAIMS, before=folder.disk.crash)
    with pytest.raises(Missing):
        run(highest_claim(folder))


def test_of_two_claims_of_an_epoch_the_one_is_found_that_is_durable() -> None:
    folder = bare_folder()
    folder.at("sync_directory", names.CLAIMS, before=FolderUnavailable("the overseer died"))
    with pytest.raises(FolderUnavailable):
        win(folder, 1)
    other = folder.other()
    other.at("sync_directory", names.CLAIMS, before=FolderUnavailable("another one died"))

    def claim_anew() -> None:
        with pytest.raises(FolderUnavailable):
            run(claim_epoch(other, claim_of(1, "b")))

    folder.at("sync_directory", names.CLAIMS, before=folder.disk.crash, after=claim_anew)
    found = run(highest_claim(folder))
    assert found is not None
    assert found.member == "b"
    folder.disk.crash()
    assert run(highest_claim(folder)) == found


def test_a_pointer_is_read_back() -> None:
    folder = bare_folder()
    win(folder, 1)
    assert run(read_pointer(folder, 1)) is Blank.ZERO
    run(write_pointer(folder, 1, POINTER))
    assert run(read_pointer(folder, 1)) == POINTER
    assert not any(folder.disk.content(names.claim(1)).visible[SEAL_OFFSET:])


def test_each_copy_of_a_pointer_lies_in_one_sector() -> None:
    assert len(pack(msgspec.json.encode(POINTER), POINTER_COPY_BYTES)) == 512
    assert BLOCK_BYTES // 2 % 512 == 0


@pytest.mark.parametrize("spoilt", [0, BLOCK_BYTES // 2])
def test_one_valid_copy_of_a_pointer_is_enough(spoilt: int) -> None:
    folder = bare_folder()
    win(folder, 1)
    run(write_pointer(folder, 1, POINTER))
    folder.disk.spoil(names.claim(1), POINTER_OFFSET + spoilt, bytes(512))
    assert run(read_pointer(folder, 1)) == POINTER


def test_a_pointer_without_a_valid_copy_is_rotten_not_zero() -> None:
    folder = bare_folder()
    win(folder, 1)
    folder.disk.spoil(names.claim(1), POINTER_OFFSET + 4000, b"\1")
    assert run(read_pointer(folder, 1)) is Blank.ROTTEN


def test_a_recorded_name_is_asked_for_again_and_then_missing() -> None:
    folder = bare_folder()
    with pytest.raises(Missing):
        run(reading.open_recorded(folder, names.claim(1), "read"))
    assert folder.log() == ["refresh claims"] * 3


def test_a_claim_of_a_later_version_can_be_read() -> None:
    folder = bare_folder()
    later = msgspec.structs.replace(claim_of(1, "a"), why="another reason")
    assert run(claim_epoch(folder, later)) == later
