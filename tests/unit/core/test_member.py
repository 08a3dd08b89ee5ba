"""What a worker becomes, and when: claims, takeovers, steps down, hand-overs."""

import itertools

import msgspec
import pytest

from hanas_core.log.claimfile import Claim
from hanas_core.members.detector import Conclude, StartProbe
from hanas_core.members.member import Effect, Follow, HandOver, IsolationPolicy, Member, Promote, StepDown
from hanas_core.members.roles import Role
from hanas_core.members.timing import LAN
from hanas_core.members.verdicts import Severity, Verdict
from hanas_core.volume.errors import Corruption, FolderError, FolderUnavailable

ME, OTHER = "1" * 32, "2" * 32


def member(policy: IsolationPolicy = IsolationPolicy.STAY) -> Member:
    return Member("worker-1", ME, LAN, policy)


def claim(epoch: int, incarnation: str, *, verdict: str | None = None, nonce: str = "") -> Claim:
    return Claim(
        epoch=epoch,
        member="worker-1" if incarnation == ME else "worker-2",
        incarnation=incarnation,
        nonce=nonce or f"{epoch:032x}",
        advertise_url="http://a",
        link_url="http://b",
        folder_id="f" * 32,
        follows=epoch - 1,
        previous_main="worker-2" if epoch > 1 else None,
        verdict=verdict,
    )


def main_of(epoch: int, policy: IsolationPolicy = IsolationPolicy.STAY, verdict: str | None = None) -> Member:
    worker = member(policy)
    worker.see(0.0, claim(epoch, ME, verdict=verdict), 1)
    assert worker.promoted(0.0, epoch)
    return worker


def seen_by(worker: Member) -> Verdict:
    return worker.verdict


def role_of(worker: Member) -> Role:
    worker.check_invariants()
    return worker.role


def test_a_main_that_takes_over_after_its_own_failure_is_back() -> None:
    worker = main_of(2, verdict=Verdict.PRIMARY_FAILED)
    assert [(found.kind, found.about) for found in worker.conditions()] == [(Verdict.PRIMARY_FAILED, "worker-2")]
    itself = member()
    itself.see(0.0, msgspec.structs.replace(claim(2, ME, verdict=Verdict.PRIMARY_FAILED), previous_main="worker-1"), 1)
    assert itself.promoted(0.0, 2)
    assert itself.conditions() == []


def test_it_joins_without_a_role_and_does_nothing() -> None:
    worker = member()
    assert (worker.role, worker.epoch, worker.verdict) == (Role.JOINING, 0, Verdict.UNKNOWN)
    assert worker.tick(100.0, "n") == []


def test_the_claim_of_another_makes_it_a_backup() -> None:
    worker, first = member(), claim(1, OTHER)
    assert worker.see(0.0, first, 0) == [Follow(first)]
    assert role_of(worker) is Role.BACKUP
    assert seen_by(worker) is Verdict.UNKNOWN


def test_a_claim_is_acted_upon_once() -> None:
    worker, first = member(), claim(1, OTHER)
    worker.see(0.0, first, 0)
    assert worker.see(1.0, first, 0) == []
    assert worker.see(1.0, claim(0, OTHER), 0) == []


def test_another_claim_of_the_same_epoch_replaces_one_that_was_lost() -> None:
    worker = main_of(1)
    found = claim(1, OTHER, nonce="e" * 32)
    assert worker.see(1.0, found, 1) == [StepDown(found)]
    assert role_of(worker) is Role.BACKUP


def test_its_own_claim_makes_it_the_elect_and_then_the_main() -> None:
    worker, own = member(), claim(1, ME)
    assert worker.see(0.0, own, 1) == [Promote(own)]
    assert role_of(worker) is Role.ELECT
    assert seen_by(worker) is Verdict.UNKNOWN
    assert worker.promoted(0.1, 1)
    assert (worker.role, worker.verdict) == (Role.MAIN, Verdict.HEALTHY)


def test_a_claim_of_its_name_by_another_incarnation_is_not_its_own() -> None:
    worker = member()
    old = msgspec.structs.replace(claim(1, OTHER), member="worker-1")
    assert worker.see(0.0, old, 0) == [Follow(old)]


def test_a_higher_claim_during_the_takeover_ends_it() -> None:
    worker, higher = member(), claim(2, OTHER)
    worker.see(0.0, claim(1, ME), 1)
    assert worker.see(0.1, higher, 2) == [StepDown(higher)]
    assert not worker.promoted(0.2, 1)
    assert role_of(worker) is Role.BACKUP


def test_a_promotion_without_a_claim_is_refused() -> None:
    assert not member().promoted(0.0, 1)


def test_a_main_that_sees_a_higher_claim_steps_down() -> None:
    worker, higher = main_of(1), claim(2, OTHER)
    assert worker.see(1.0, higher, 1) == [StepDown(higher)]
    worker.ended(1.0, 1, 0)  # its service says so too, when it is too late
    assert (worker.role, worker.epoch) == (Role.BACKUP, 2)


def test_a_main_whose_epoch_ends_waits_like_any_other_and_claims_the_next() -> None:
    worker = main_of(1)
    worker.ended(0.0, 1, 0)
    assert role_of(worker) is Role.BACKUP
    effects: list[Effect] = []
    now = 0.0
    while not effects:
        now += 0.05
        effects = worker.tick(now, "n")
    assert effects == [StartProbe("n", 1)]
    worker.detector.canary(now, "n", ok=True, took=0.0)
    while not (effects := worker.tick(now, "n")):
        now += 0.05
        worker.detector.looked(now, now, None)
    (conclusion,) = effects
    assert isinstance(conclusion, Conclude)
    assert (conclusion.epoch, conclusion.verdict) == (1, Verdict.PRIMARY_FAILED)
    own = claim(2, ME)
    assert worker.see(now, own, 1) == [Promote(own)]


def test_an_end_that_is_not_its_own_changes_nothing() -> None:
    worker = member()
    worker.ended(0.0, 1, 0)
    assert role_of(worker) is Role.JOINING
    worker.see(0.0, claim(3, OTHER), 0)
    worker.ended(0.0, 3, 0)
    assert role_of(worker) is Role.BACKUP


def test_a_failed_takeover_is_not_tried_again_for_the_same_epoch() -> None:
    worker = member()
    worker.see(0.0, claim(1, ME), 1)
    worker.ended(0.1, 1, 1)
    assert worker.see(0.2, claim(1, ME), 1) == []
    lost = claim(1, ME, nonce="d" * 32)
    assert worker.see(0.3, lost, 1) == [Follow(lost)]


def test_a_main_that_reaches_nobody_is_isolated_until_it_does() -> None:
    worker = main_of(1)
    assert worker.tick(LAN.isolation_after / 2, "n") == []
    assert seen_by(worker) is Verdict.HEALTHY
    late = 2 * LAN.isolation_after
    assert worker.tick(late, "n", others_connected=True) == []
    assert seen_by(worker) is Verdict.PRIMARY_ISOLATED
    assert worker.tick(late + 0.1, "n", others_connected=True) == []  # the policy is Stay
    worker.reached(late + 0.2)
    worker.tick(late + 0.3, "n")
    assert seen_by(worker) is Verdict.HEALTHY


@pytest.mark.parametrize("others_connected", [True, False])
def test_an_isolated_main_steps_down_only_for_a_member_that_is_not(others_connected: bool) -> None:
    worker = main_of(1, IsolationPolicy.STEP_DOWN)
    late = 2 * LAN.isolation_after
    assert worker.tick(late, "n", others_connected=others_connected) == []
    effects = worker.tick(late + 0.1, "n", others_connected=others_connected)
    assert [type(effect) for effect in effects] == ([HandOver] if others_connected else [])


def test_the_failed_main_is_missed_until_it_is_back() -> None:
    worker = main_of(2, verdict="PrimaryFailed")
    (condition,) = worker.conditions()
    assert (condition.kind, condition.about, condition.severity) == (
        Verdict.PRIMARY_FAILED,
        "worker-2",
        Severity.URGENT,
    )
    worker.returned("worker-3")
    assert worker.conditions()
    worker.returned("worker-2")
    worker.returned("worker-2")
    assert worker.conditions() == []


def test_a_main_that_is_replaced_misses_nobody_any_more() -> None:
    worker = main_of(2, verdict="PrimaryFailed")
    worker.see(1.0, claim(3, OTHER), 1)
    assert role_of(worker) is Role.BACKUP
    assert worker.conditions() == []


def test_a_main_that_handed_over_is_not_missed() -> None:
    assert main_of(2, verdict="HandedOver").conditions() == []


def test_a_full_volume_is_told_by_the_main_itself() -> None:
    worker = main_of(1)
    worker.full = True
    (condition,) = worker.conditions()
    assert (worker.verdict, condition.kind, condition.severity) == (
        Verdict.FOLDER_FULL,
        Verdict.FOLDER_FULL,
        Severity.CRITICAL,
    )


def test_an_isolated_main_says_so() -> None:
    worker = main_of(1)
    worker.tick(2 * LAN.isolation_after, "n")
    assert [condition.kind for condition in worker.conditions()] == [Verdict.PRIMARY_ISOLATED]


def test_a_backup_tells_of_a_failed_link_once_it_lasts() -> None:
    worker = member()
    worker.see(0.0, claim(1, OTHER), 0)
    worker.tick(0.2, "n")
    assert worker.tick(0.3, "n") == [StartProbe("n", 1)]
    worker.detector.looked(0.4, 0.35, ("n", 1, OTHER, False))
    (condition,) = worker.conditions()
    assert (condition.kind, condition.about, condition.confirm) == (Verdict.LINK_FAILED, "worker-2", LAN.link_confirm)


def test_a_backup_whose_folder_fails_says_that_it_will_not_take_over() -> None:
    worker = member()
    worker.see(0.0, claim(1, OTHER), 0)
    worker.tick(0.2, "n")
    worker.tick(0.3, "n")
    worker.detector.canary(0.31, "n", ok=False, took=0.0)
    worker.tick(0.5, "n")
    assert worker.tick(0.6, "n") == []
    (condition,) = worker.conditions()
    assert (condition.kind, condition.about) == (Verdict.FOLDER_UNAVAILABLE, "worker-1")


def test_a_healthy_backup_has_nothing_to_tell() -> None:
    worker = member()
    worker.see(0.0, claim(1, OTHER), 0)
    worker.detector.heard(0.1, 1, OTHER)
    assert (worker.verdict, worker.conditions()) == (Verdict.HEALTHY, [])


def test_a_backup_that_cannot_read_the_folder_says_so_although_keep_alives_arrive() -> None:
    worker = member()
    worker.see(0.0, claim(1, OTHER), 0)
    worker.detector.heard(0.1, 1, OTHER)
    worker.blind = True
    assert seen_by(worker) is Verdict.FOLDER_UNAVAILABLE
    assert [condition.kind for condition in worker.conditions()] == [Verdict.FOLDER_UNAVAILABLE]
    worker.blind = False
    assert seen_by(worker) is Verdict.HEALTHY


def test_a_main_whose_folder_fails_says_so_and_not_that_it_cannot_tell_whether_it_lives() -> None:
    worker = member()
    worker.see(0.0, claim(1, ME), 0)
    assert worker.promoted(0.1, 1)
    worker.blind = True
    assert seen_by(worker) is Verdict.FOLDER_UNAVAILABLE
    (condition,) = worker.conditions()
    assert "it cannot commit, and a backup whose folder works takes over" in condition.message


def test_a_worker_that_never_saw_a_claim_says_that_its_folder_fails() -> None:
    worker = member()
    worker.blind = True
    (condition,) = worker.conditions()
    assert "whether a main lives" in condition.message


def test_a_main_that_begins_a_new_epoch_of_its_own_stays_the_main() -> None:
    worker, next_one = main_of(1), claim(2, ME)
    worker.rolled(5.0, next_one)
    assert (worker.role, worker.epoch) == (Role.MAIN, 2)
    assert worker.see(5.1, next_one, 0) == []
    worker.ended(6.0, 2, 0)
    assert role_of(worker) is Role.BACKUP


def test_an_epoch_that_was_begun_and_given_up_is_not_taken_up_again() -> None:
    worker, next_one = main_of(1), claim(2, ME)
    worker.spoiled(2)
    worker.ended(5.0, 1, 0)
    assert worker.see(5.1, next_one, 1) == [Follow(next_one)]
    assert role_of(worker) is Role.BACKUP


def test_another_process_with_the_id_of_this_member_is_told_of() -> None:
    worker = main_of(1)
    worker.twin = "another process with this id runs"
    (condition,) = worker.conditions()
    assert (condition.about, condition.message) == ("worker-1", "another process with this id runs")
    worker.twin = ""
    assert worker.conditions() == []


def test_a_member_that_lacks_a_key_says_what_it_cannot_do() -> None:
    worker = main_of(1)
    worker.keyless = "segments/1: is encrypted with the key 5f"
    (condition,) = worker.conditions()
    assert (condition.kind, condition.about) == (Verdict.TAKEOVER_FAILED, "worker-1")
    assert "cannot read the whole log, so it will not take over: segments/1: is encrypted" in condition.message
    worker.keyless = ""
    assert worker.conditions() == []


def test_a_takeover_that_failed_makes_the_next_one_wait_as_all_the_claims_since_the_last_served_ask() -> None:
    worker = member()
    for unserved, patience in ((1, 0.5), (3, 2.0)):
        worker.see(0.0, claim(unserved + 1, ME), unserved)
        worker.failed(0.0, unserved + 1, None)
        assert (role_of(worker), worker.detector.patience) == (Role.BACKUP, patience)
    worker.see(0.0, claim(5, ME), 0)
    worker.failed(0.0, 5, None)
    assert worker.detector.patience == 0.5
    assert worker.conditions() == [], "another one served meanwhile"


@pytest.mark.parametrize(
    ("obstacle", "advice"),
    [
        (Corruption("segments/0000000001-000001: at offset 4096 there is a bad batch"), "run 'hanas fsck' on it"),
        (
            FolderUnavailable("segments/0000000001-000001: input/output error"),
            "the volume and its mount at worker-1",
        ),
    ],
)
def test_an_obstacle_to_a_takeover_is_told_until_an_epoch_serves(obstacle: FolderError, advice: str) -> None:
    worker = member()
    worker.see(0.0, claim(2, ME), 1)
    worker.failed(0.0, 2, obstacle)
    (told,) = worker.conditions()
    assert (told.kind, told.severity, told.about) == (Verdict.TAKEOVER_FAILED, Severity.CRITICAL, "worker-1")
    assert str(obstacle) in told.message
    assert advice in told.advice
    worker.see(1.0, claim(3, ME), 2)
    assert worker.conditions() == [], "it tries again"
    worker.failed(1.0, 3, obstacle)
    worker.see(2.0, claim(4, OTHER), 3)
    assert len(worker.conditions()) == 1
    worker.served()
    assert (worker.conditions(), worker.unserved, worker.detector.patience) == ([], 0, LAN.suspect_after)


def test_a_takeover_that_could_not_be_asked_for_is_told_while_the_main_counts_as_gone() -> None:
    worker = member()
    worker.see(0.0, claim(1, OTHER), 0)
    worker.unasked = FolderUnavailable("claims: input/output error")
    assert worker.conditions() == []
    assert isinstance(worker.detector.handed_over(1.0), Conclude)
    (told,) = worker.conditions()
    assert (told.kind, told.severity, told.about) == (Verdict.TAKEOVER_FAILED, Severity.CRITICAL, "worker-1")
    assert "worker-1 cannot take over: claims: input/output error" in told.message
    worker.see(2.0, claim(2, OTHER), 0)
    assert worker.conditions() == []


def hand_overs(worker: Member, begin: float, end: float) -> list[float]:
    """Let an isolated main live from ``begin`` to ``end``; return when it hands over. It serves again each time."""
    times, now = [], begin
    while now < end:
        now += 1.0
        if any(isinstance(effect, HandOver) for effect in worker.tick(now, "n", others_connected=True)):
            times.append(now)
    return times


def test_an_isolated_main_that_nobody_can_replace_hands_over_ever_more_rarely() -> None:
    worker = main_of(1, IsolationPolicy.STEP_DOWN)
    times = hand_overs(worker, 10.0, 24 * 3600.0)
    assert [later - earlier for earlier, later in itertools.pairwise(times)][:3] == [30.0, 60.0, 120.0]
    assert len(times) < 35
    worker.see(times[-1], claim(2, OTHER), 0)
    worker.served()
    now = times[-1] + 10.0
    worker.see(now, claim(3, ME), 1)
    assert worker.promoted(now, 3)
    assert len(hand_overs(worker, now, now + 10.0)) == 1, "another one served meanwhile"


def test_a_damaged_folder_is_told_in_words() -> None:
    worker = main_of(1)
    worker.blind, worker.damage = True, "claims/0000000001 was removed"
    (condition,) = worker.conditions()
    assert (condition.kind, condition.severity) == (Verdict.FOLDER_UNAVAILABLE, Severity.CRITICAL)
    assert condition.message.endswith("the communication folder is not as it should be: claims/0000000001 was removed")
    assert "hanas fsck" in condition.advice


def test_a_volume_that_is_nearly_full_is_told_by_everybody_before_it_is_full() -> None:
    worker = member()
    worker.scarce = "only 3 more files (inodes) find room"
    (condition,) = worker.conditions()
    assert (condition.kind, condition.about, condition.severity) == (Verdict.FOLDER_FULL, "folder", Severity.URGENT)
    assert "only 3 more files (inodes) find room; writes go on" in condition.message
    main = main_of(1)
    main.scarce, main.full = worker.scarce, True
    assert [condition.about for condition in main.conditions()] == ["worker-1"], "more urgent things are said"


def test_epochs_of_ones_own_that_commit_nothing_make_the_next_one_wait_until_anyone_commits() -> None:
    worker = member()
    for epoch, patience in ((1, 0.5), (2, 1.0), (3, 2.0)):
        worker.see(0.0, claim(epoch, ME), 1)
        assert worker.promoted(0.0, epoch)
        assert worker.conditions() == []
        worker.withered("a commit failed: input/output error")
        worker.ended(0.0, epoch, 0)
        worker.served()
        assert worker.detector.patience == patience
    (told,) = worker.conditions()
    assert (told.kind, told.severity, told.about) == (Verdict.TAKEOVER_FAILED, Severity.CRITICAL, "worker-1")
    assert "could not commit anything as the main, 3 times in a row: a commit failed: input/output" in told.message
    worker.see(0.0, claim(5, OTHER), 1)
    assert worker.detector.patience == 4.0, "both count"
    worker.served()
    assert worker.detector.patience == 2.0, "another one that serves proves nothing"
    worker.fruited()
    worker.fruited()
    assert (worker.conditions(), worker.detector.patience) == ([], LAN.suspect_after)


def test_a_segment_that_cannot_be_prepared_is_told_before_and_after_writes_are_refused() -> None:
    worker = main_of(1)
    worker.unprepared = "tmp/: no such file"
    for full, consequence in ((False, "writes go on in the present one"), (True, "writes are refused, reads go on")):
        worker.full = full
        (condition,) = worker.conditions()
        assert (condition.kind, condition.severity) == (Verdict.FOLDER_UNAVAILABLE, Severity.CRITICAL)
        assert condition.message == f"worker-1 can prepare no further segment: tmp/: no such file; {consequence}"
    worker.blind = True
    (condition,) = worker.conditions()
    assert "cannot use the communication folder" in condition.message
