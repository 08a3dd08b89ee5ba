"""The documents, built by pure functions from what was read."""

from typing import Any

import msgspec
import pytest

from hanas_core.members.documents import LEFT, MainInfo, Report
from hanas_core.members.liveness import UNSEEN, LifeSign
from hanas_core.members.registry import Registration
from hanas_core.members.roles import LinkState, MainState, Role
from hanas_core.members.verdicts import Severity, Verdict
from hanas_overseer import alarms, picture
from hanas_overseer.documents import EpochEntry
from hanas_overseer.history import takeover, words
from hanas_overseer.observer import Observation
from tests.unit.overseer.stage import alert, claim, incarnation, link, presence

REGISTRATIONS = tuple(Registration(f"worker-{n}", n - 1, f"http://first-{n}:1", "http://first:2") for n in (1, 2, 3))
MAIN = MainInfo("worker-1", incarnation(1), "http://host-1:3001", "http://host-1:4001", 4, MainState.SERVING)
HEARD = frozenset({MAIN.incarnation})
NOW = "2026-02-02T00:00:00+00:00"


def seen(number: int, *, alive: bool = True, moved: bool = True, silent: float = 0.2, **changes: Any) -> LifeSign:
    return LifeSign(presence(number, **changes), alive=alive, silent=silent, moved=moved)


def entry(epoch: int) -> EpochEntry:
    return takeover(claim(epoch, 1), served=True, seconds=None)


def test_a_living_backup_shows_what_it_says_of_itself() -> None:
    life_sign = seen(2, epoch=4, applied="4/1/8192", lag_bytes=7, keys=3)
    assert msgspec.to_builtins(
        picture.member(REGISTRATIONS[1], life_sign, MAIN, None, frozenset({incarnation(2)}))
    ) == {
        "member": "worker-2",
        "incarnation": incarnation(2),
        "slot": 1,
        "advertiseUrl": "http://host-2:3001",
        "linkUrl": "http://host-2:4001",
        "role": "backup",
        "alive": True,
        "heard": True,
        "seenSecondsAgo": 0.2,
        "epoch": 4,
        "verdict": "Healthy",
        "applied": "4/1/8192",
        "lagBytes": 7,
        "keys": 3,
    }


def test_a_member_that_never_showed_itself_is_joining_at_its_registered_address() -> None:
    member = picture.member(REGISTRATIONS[1], UNSEEN, MAIN)
    assert (member.role, member.alive, member.seen_seconds_ago) == ("joining", False, None)
    assert member.advertise_url == "http://first-2:1"


def test_the_holder_of_the_claim_is_the_main_before_it_shows_itself() -> None:
    member = picture.member(REGISTRATIONS[0], UNSEEN, MAIN)
    assert (member.role, member.alive, member.incarnation) == ("main", False, MAIN.incarnation)


def test_what_a_dead_member_concluded_is_not_shown() -> None:
    member = picture.member(REGISTRATIONS[1], seen(2, alive=False, silent=9.0), MAIN)
    assert (member.alive, member.verdict, member.seen_seconds_ago) == (False, Verdict.UNKNOWN, 9.0)


@pytest.mark.parametrize(
    ("number", "says", "state", "shown"),
    [
        (1, "backup", "serving", "main"),
        (1, "elect", "handed-over", "main"),
        (1, "main", "elect", "elect"),
        (2, "main", "serving", "backup"),
        (2, "elect", "serving", "backup"),
        (2, "backup", "serving", "backup"),
        (2, "joining", "serving", "joining"),
        (2, "left", "serving", "left"),
        (1, "left", "handed-over", "left"),
    ],
)
def test_the_claim_decides_who_is_the_main(number: int, says: str, state: str, shown: str) -> None:
    block = presence(number, left=True) if says == LEFT else presence(number, role=Role(says))
    assert picture.role(block, msgspec.structs.replace(MAIN, state=MainState(state))) == shown


def test_a_restarted_main_is_no_main_any_more() -> None:
    assert picture.role(presence(1, role=Role.BACKUP, incarnation="e" * 16), MAIN) == "backup"


def test_without_a_claim_there_is_no_main() -> None:
    assert picture.role(presence(1, role=Role.JOINING), None) == "joining"
    assert picture.member(REGISTRATIONS[0], UNSEEN, None).role == "joining"


def test_links_of_all_living_members_are_shown_once_in_order() -> None:
    shown = picture.links([presence(2, links=(link(2, 1), link(1, 2))), presence(1, links=(link(1, 2), link(1, 3)))])
    assert shown == (link(1, 2), link(1, 3), link(2, 1))


@pytest.mark.parametrize(
    ("one", "other", "state"),
    [
        ("up", "failed", "failed"),
        ("failed", "up", "failed"),
        ("unknown", "up", "up"),
        ("up", "unknown", "up"),
        ("unknown", "failed", "failed"),
    ],
)
def test_of_two_ends_the_worse_word_counts(one: str, other: str, state: str) -> None:
    ends = [presence(1, links=(link(1, 2, LinkState(one)),)), presence(2, links=(link(1, 2, LinkState(other)),))]
    assert [found.state for found in picture.links(ends)] == [state]


def test_the_cluster_document_holds_everything() -> None:
    observation = Observation(registrations=REGISTRATIONS, main=MAIN, takeovers=(entry(4),), lowest=4)
    life_signs = [
        seen(1, links=(link(1, 2),)),
        seen(2, alerts=(alert("a"),)),
        seen(3, alive=False, links=(link(3, 1),)),
    ]
    document = picture.cluster("f" * 16, observation, life_signs, [alert("b", Severity.CRITICAL)], {}, HEARD)
    assert document.folder_id == "f" * 16
    assert document.epoch == 4
    assert document.main == MAIN
    assert [member.role for member in document.members] == ["main", "backup", "backup"]
    assert document.links == (link(1, 2),)
    assert [found.id for found in document.alerts] == ["b", "a"]
    assert [found.epoch for found in document.takeovers] == [4]


def test_an_empty_cluster_has_a_document_too() -> None:
    assert msgspec.to_builtins(picture.cluster("f" * 16, Observation(), [], [], {})) == {
        "folderId": "f" * 16,
        "epoch": 0,
        "main": None,
        "members": (),
        "links": (),
        "takeovers": (),
        "alerts": (),
    }


def test_members_that_were_registered_after_the_last_sighting_are_unseen() -> None:
    document = picture.cluster("f" * 16, Observation(registrations=REGISTRATIONS), [seen(1)], [], {})
    assert [member.role for member in document.members] == ["backup", "joining", "joining"]


def test_only_the_newest_takeovers_are_in_the_cluster_document() -> None:
    many = tuple(entry(epoch) for epoch in range(1, picture.RECENT_TAKEOVERS + 51))
    shown = picture.cluster("f" * 16, Observation(takeovers=many), [], [], {}).takeovers
    assert len(shown) == picture.RECENT_TAKEOVERS
    assert shown[-1].epoch == many[-1].epoch


def test_ages_and_positions_are_no_change_but_states_are() -> None:
    def document(**changes: Any) -> bytes:
        values: dict[str, Any] = {"silent": 0.2, "lag_bytes": 0, "state": "up", "alive": True, "message": "m"} | changes
        state, message = values.pop("state"), values.pop("message")
        values["links"] = (link(1, 2, LinkState(state), values["silent"]),)
        life_signs = [seen(1, **values)]
        observation = Observation(registrations=REGISTRATIONS[:1], main=MAIN)
        return picture.settled(picture.cluster("f" * 16, observation, life_signs, [alert("a", message=message)], {}))

    assert document() == document(silent=1.2, lag_bytes=99, applied="4/1/9", keys=4, message="n")
    assert document() != document(state="failed")
    assert document() != document(alive=False)
    assert document() != document(epoch=5)


def test_a_silent_backup_is_urgent() -> None:
    (found,) = alarms.silences([seen(1), seen(2, alive=False, silent=12.3)], MAIN, {}, now=NOW)
    assert (found.severity, found.kind, found.member, found.about) == ("urgent", "Unknown", "overseer", "worker-2")
    assert found.message == "worker-2 has been silent for 12 s"
    assert "restart" in found.advice
    assert found.since == NOW


def test_a_member_that_was_never_seen_moving_may_have_been_silent_for_longer() -> None:
    (found,) = alarms.silences([seen(1), seen(2, alive=False, silent=12.0, moved=False)], MAIN, {}, now=NOW)
    assert found.message == "worker-2 has been silent for 12 s or longer"


def test_a_silent_main_is_critical_and_called_failed_only_when_a_backup_says_so() -> None:
    silent = seen(1, alive=False, silent=5.0)
    (found,) = alarms.silences([silent, seen(2)], MAIN, {}, now=NOW)
    assert (found.severity, found.kind) == ("critical", "Unknown")
    (found,) = alarms.silences([silent, seen(2, verdict=Verdict.PRIMARY_FAILED)], MAIN, {}, now=NOW)
    assert (found.severity, found.kind) == ("critical", "PrimaryFailed")


def test_when_all_are_silent_the_advice_is_to_start_one() -> None:
    found = alarms.silences([seen(1, alive=False), seen(2, alive=False)], MAIN, {}, now=NOW)
    assert all("No worker is alive" in one.advice for one in found)


def test_who_never_showed_itself_raises_no_alert() -> None:
    assert alarms.silences([UNSEEN, seen(2)], None, {}, now=NOW) == []


def test_who_left_in_order_raises_no_alert() -> None:
    assert alarms.silences([seen(1), seen(2, alive=False, silent=99.0, left=True)], MAIN, {}, now=NOW) == []


def test_who_tells_over_the_network_what_is_wrong_is_not_called_silent() -> None:
    told = alert("w2:FolderUnavailable", Severity.CRITICAL, kind=Verdict.FOLDER_UNAVAILABLE)
    report = Report(member="worker-2", incarnation=incarnation(2), folder_id="f" * 16, alerts=(told,))
    assert alarms.silences([seen(1), seen(2, alive=False)], MAIN, {"worker-2": report}, now=NOW) == [told]


def test_who_lives_and_knows_of_nothing_wrong_but_is_not_seen_has_another_folder() -> None:
    report = Report(member="worker-2", incarnation=incarnation(2), folder_id="f" * 16)
    (found,) = alarms.silences([seen(1), seen(2, alive=False)], MAIN, {"worker-2": report}, now=NOW)
    assert (found.kind, found.about) == (Verdict.FOLDER_UNAVAILABLE, "worker-2")
    assert "mount the same volume" in found.advice


def test_the_verdict_of_the_silent_is_what_they_told_over_the_network() -> None:
    report = Report(
        member="worker-2", incarnation=incarnation(2), folder_id="f" * 16, verdict=Verdict.FOLDER_UNAVAILABLE
    )
    silent = seen(2, alive=False)
    assert picture.member(REGISTRATIONS[1], silent, MAIN, report).verdict is Verdict.FOLDER_UNAVAILABLE
    assert picture.member(REGISTRATIONS[1], silent, MAIN).verdict is Verdict.UNKNOWN
    assert picture.member(REGISTRATIONS[1], seen(2), MAIN, report).verdict is Verdict.HEALTHY


def test_the_time_of_a_takeover_is_split() -> None:
    evidence = msgspec.Raw(b'{"words":"dead","keepaliveAge":0.55}')
    seconds = {"claim": 0.02, "seals": 0.001, "replay": 0.002, "relog": 0.003}
    made = takeover(claim(2, 1, evidence=evidence), served=True, seconds=seconds)
    assert msgspec.to_builtins(made.durations) == {"detection": 0.55, "claim": 0.02, "replay": 0.006, "total": 0.576}


@pytest.mark.parametrize(
    ("evidence", "seconds"),
    [
        (b"null", {"claim": 0.1}),
        (b'{"keepaliveAge":null}', {"claim": 0.1}),
        (b'{"keepaliveAge":0.5}', {"seals": 0.1}),
        (b'{"keepaliveAge":0.5}', None),
    ],
    ids=["first", "never heard", "older manifest", "did not serve"],
)
def test_a_takeover_that_does_not_tell_enough_is_not_split(evidence: bytes, seconds: dict[str, float] | None) -> None:
    assert takeover(claim(2, 1, evidence=msgspec.Raw(evidence)), served=True, seconds=seconds).durations is None


def test_the_identity_of_an_alert_is_that_of_the_incarnation() -> None:
    (one,) = alarms.silences([seen(2, alive=False)], MAIN, {}, now=NOW)
    (other,) = alarms.silences([seen(2, alive=False, incarnation="e" * 16)], MAIN, {}, now=NOW)
    assert one.id != other.id


def test_alerts_are_shown_once_the_most_severe_first_then_the_oldest() -> None:
    late = alert("late", since="2026-03-01")
    early = alert("early", since="2026-01-01")
    urgent = alert("urgent", Severity.URGENT, since="2026-05-01")
    critical = alert("critical", Severity.CRITICAL, since="2026-06-01")
    assert alarms.union([late, early, urgent, critical, early]) == (critical, urgent, early, late)


def test_an_alert_keeps_the_time_at_which_it_was_opened() -> None:
    openings = alarms.Openings()
    openings.stamp([alert("a", since="1")])
    assert [found.since for found in openings.stamp([alert("a", since="2"), alert("b", since="2")])] == ["1", "2"]
    openings.stamp([])
    assert [found.since for found in openings.stamp([alert("a", since="3")])] == ["3"]


def test_the_words_of_the_evidence_come_first() -> None:
    assert words(claim(2, 2), {"words": "no keep-alive for 1 s"}) == "no keep-alive for 1 s"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"why": "first"}, "worker-2 was the first to claim and became the main"),
        (
            {"why": "failure", "previous_main": "worker-1", "verdict": "PrimaryFailed"},
            "worker-2 took over from worker-1: PrimaryFailed",
        ),
        ({"why": "failure"}, "worker-2 took over from an unknown main without a verdict"),
        ({"why": "hand-over", "previous_main": "worker-1"}, "worker-1 handed over to worker-2 as planned"),
        (
            {"why": "compaction", "previous_main": "worker-2"},
            "worker-2 compacted its log into a new epoch",
        ),
        ({"why": "boredom"}, "worker-2 began a new epoch: boredom"),
    ],
)
@pytest.mark.parametrize("evidence", [None, {}, {"words": 7}, {"words": ""}, ["words"]])
def test_without_words_a_sentence_is_made(changes: dict[str, str], sentence: str, evidence: object) -> None:
    assert words(claim(2, 2, **changes), evidence) == sentence


def test_evidence_is_shown_as_it_is_and_broken_evidence_not_at_all() -> None:
    sound = takeover(claim(2, 2, evidence=msgspec.Raw(b'{"a":[1]}')), served=True, seconds={"seals": 1.0})
    assert sound.evidence == {"a": [1]}
    assert sound.seconds == {"seals": 1.0}
    broken = takeover(claim(2, 2, evidence=msgspec.Raw(b'"\xff"')), served=False, seconds=None)
    assert broken.evidence is None
