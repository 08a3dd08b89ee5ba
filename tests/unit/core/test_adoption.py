"""A copied folder gets an id of its own, and what another cluster wrote is never taken for one's own."""

import pytest
from msgspec.structs import replace

from hanas_core.epochs import arbitration
from hanas_core.epochs.arbitration import Challenge, Expected
from hanas_core.log.claimfile import Seal
from hanas_core.log.claims import claim_epoch, highest_claim, read_claim
from hanas_core.log.positions import Position
from hanas_core.log.seals import read_seal, write_seal
from hanas_core.log.segments import SegmentReader
from hanas_core.members import adoption, cluster
from hanas_core.members.cluster import Cluster
from hanas_core.members.documents import Presence
from hanas_core.members.mailboxes import Box, Mailboxes
from hanas_core.members.registry import Registry
from hanas_core.state import snapshots
from hanas_core.state.index import Index
from hanas_core.upkeep import fsck
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.errors import Corruption, FolderUnavailable, Sealed, WrongFolder
from tests.unit.core.memory_folder import Died, MemoryFolder, at_every_operation
from tests.unit.core.scenery import FOLDER_ID, Backup, Main, claim_of, contents, serve, take_over


def shown(member: str, counter: int) -> Presence:
    url = "http://x:1"
    return Presence(member=member, incarnation=32 * member, counter=counter, advertise_url=url, link_url=url, logs=())


def used(folder: MemoryFolder | None = None) -> Main:
    """Return the main of a folder with two members, some keys and leftovers."""
    folder = folder or MemoryFolder()
    run(cluster.initialise(folder, FOLDER_ID))
    main = serve(folder, 1)
    main.put("a", "b")
    main.put("c", "d")
    run(folder.create(names.temporary("a", 32 * "a", 32 * "0"), b"left behind"))
    for member in ("a", "b"):
        slot = run(Registry(folder).slot_of(member, 32 * member, "http://x:1", "http://x:2"))
        run(Mailboxes(folder).write(Box.PRESENCE, slot, shown(member, 1)))
    return main


def test_an_adopted_folder_has_a_new_id_its_keys_and_no_members() -> None:
    main = used()
    folder = main.folder.other()
    adopted = run(adoption.adopt(folder))
    assert adopted.folder_id != FOLDER_ID
    assert adopted == run(cluster.identify(folder.other()))
    assert adopted.ids == folder.ids == {FOLDER_ID, adopted.folder_id}
    assert run(Registry(folder).update()) == []
    assert run(adoption.life_signs(folder)) == []
    assert run(folder.names(names.TEMPORARY)) == []
    report = run(fsck.check(folder))
    assert (report.errors, report.keys) == (0, 2)


def test_the_next_main_follows_at_once_with_the_new_id() -> None:
    main = used()
    folder = main.folder.other()
    adopted = run(adoption.adopt(folder))
    demand = Challenge(
        member="c",
        incarnation=32 * "c",
        folder_id=adopted.folder_id,
        expected=Expected(1, "a"),
        verdict="HandedOver",
    )
    addresses = ("http://c:1", "http://c:2")
    ruling = run(arbitration.challenge(folder, demand, folder_id=adopted.folder_id, addresses=addresses, now=""))
    assert ruling.granted
    claim = run(read_claim(folder, 2))
    assert claim.folder_id == adopted.folder_id
    replica = Backup(folder)
    run(take_over(folder, claim, replica))
    assert contents(replica.index) == {"a": "b", "c": "d"}
    report = run(fsck.check(folder))
    assert (report.errors, report.keys, report.epoch) == (0, 2, 2)


def test_a_main_of_the_very_folder_that_slept_through_it_acknowledges_nothing() -> None:
    main = used()
    run(adoption.adopt(main.folder.other()))
    with pytest.raises(Sealed):
        main.put("late", "x")


def test_it_is_resumed_after_a_death_and_a_crash_at_any_operation() -> None:
    def attempt(nth: int) -> bool:
        folder = used().folder.other()
        folder.at(nth=nth, after=Died())
        survived = False
        try:
            run(adoption.adopt(folder))
            survived = True
        except Died:
            folder.disk.crash()
        again = folder.other()
        adopted = run(adoption.adopt(again))
        again.disk.crash()
        assert run(cluster.identify(again)) == adopted
        assert adopted.former_ids == (FOLDER_ID,)
        assert run(Registry(again).update()) == []
        report = run(fsck.check(again))
        assert (report.errors, report.keys) == (0, 2)
        return survived

    at_every_operation(attempt)


def test_a_second_adoption_changes_nothing_until_the_folder_was_used() -> None:
    folder = used().folder.other()
    first = run(adoption.adopt(folder))
    assert run(adoption.adopt(folder)) == first
    run(claim_epoch(folder, replace(claim_of(2, "c"), folder_id=first.folder_id)))
    second = run(adoption.adopt(folder))
    assert second.former_ids == (first.folder_id, FOLDER_ID)


def test_a_cluster_without_an_epoch_is_adopted_too() -> None:
    folder = MemoryFolder()
    first = run(cluster.initialise(folder))
    second = run(adoption.adopt(folder))
    assert second.former_ids == (first.folder_id,)
    assert run(adoption.adopt(folder)) == second


def test_a_seal_stays_as_it_is() -> None:
    main = used()
    seal = Seal(2, "x", 32 * "d")
    run(write_seal(main.folder, 1, seal))
    run(adoption.adopt(main.folder.other()))
    assert run(read_seal(main.folder, 1)) == seal


def test_too_many_ids_do_not_fit() -> None:
    folder = MemoryFolder()
    run(cluster.initialise(folder))
    own = run(cluster.identify(folder))
    for epoch in range(1, 13):
        own = run(adoption.adopt(folder))
        run(claim_epoch(folder, replace(claim_of(epoch), folder_id=own.folder_id)))
    with pytest.raises(WrongFolder, match="the folder has had 13 ids, which is too many: export its keys"):
        run(adoption.adopt(folder))
    assert run(cluster.identify(folder)) == own


def test_what_is_read_back_must_be_what_was_written() -> None:
    folder = used().folder.other()
    folder.at("write_block", names.CLUSTER, before=FolderUnavailable("no answer"))
    with pytest.raises(FolderUnavailable):
        run(adoption.adopt(folder))
    assert run(cluster.identify(folder)) == Cluster(FOLDER_ID)


def test_who_uses_the_folder_shows_it() -> None:
    main = used()
    before = run(adoption.life_signs(main.folder))
    assert [sign and sign[0] for sign in before] == ["a", "b"]
    assert run(adoption.life_signs(main.folder)) == before
    run(Mailboxes(main.folder).write(Box.PRESENCE, 1, shown("b", 2)))
    assert run(adoption.life_signs(main.folder)) != before
    run(Registry(main.folder).slot_of("c", 32 * "c", "http://x:1", "http://x:2"))
    assert run(adoption.life_signs(main.folder))[2] is None


# ---------------------------------------------------------------------- what another cluster wrote


def foreign(main: Main) -> MemoryFolder:
    """Return a way to the folder of ``main`` by which it has another id than its files carry."""
    folder = main.folder.other()
    folder.ids = frozenset({"e" * 32})
    return folder


def test_a_claim_of_another_folder_is_none() -> None:
    folder = foreign(used())
    for procedure in (highest_claim(folder), read_claim(folder, 1), claim_epoch(folder, claim_of(1, "b"))):
        with pytest.raises(Corruption, match=f"claims/0000000001: block 0 at offset 0 is of the folder {FOLDER_ID}"):
            run(procedure)


def test_a_segment_of_another_folder_is_none() -> None:
    with pytest.raises(Corruption, match="segments/0000000001-000001: block 0 at offset 0 is of the folder"):
        run(SegmentReader.open(foreign(used()), 1, 1))


def test_a_snapshot_of_another_folder_is_none() -> None:
    main = used()
    header = snapshots.SnapshotHeader(
        folder_id=FOLDER_ID, position=Position(1, 1, 4096), sequence=0, merged=(), keys=0, size=0
    )
    file = snapshots.SnapshotFile(main.folder, "tmp/snapshot", header)
    frames = snapshots.SnapshotFrames(main.replica.index)
    for payload in frames:
        run(file.write(payload))
    run(file.finish(frames.ending))
    (name,) = run(snapshots.newest(main.folder))
    with pytest.raises(Corruption, match="is of the folder"):
        run(snapshots.load(foreign(main), name, Index(0)))


def test_the_check_of_a_folder_reports_what_another_cluster_wrote() -> None:
    main = used()
    main.folder.disk.spoil(names.CLUSTER, 0, cluster.encode(Cluster("e" * 32)))
    report = run(fsck.check(main.folder.other()))
    assert {(finding.name, finding.offset) for finding in report.findings if finding.severity == "error"} >= {
        (names.claim(1), 0),
        (names.segment(1, 1), 0),
    }
