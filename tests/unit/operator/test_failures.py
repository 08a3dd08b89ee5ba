"""Link failures over time: pending, active, healed."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanas_operator import durations, failures
from hanas_operator.cuts import LinkCut
from hanas_operator.failures import Evaluation
from hanas_operator.spec import Plane
from hanas_operator.status import FailureState, FailureStatus
from hanas_operator.view import ClusterView
from tests.unit.operator.making import failure, owner, view

START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
ALL = ("worker-0", "worker-1", "worker-2")


def at(
    seconds: float, *wanted: dict[str, Any], before: Collection[FailureStatus] = (), ready: Collection[str] = ALL
) -> Evaluation:
    of = owner({"linkFailures": list(wanted)})
    return failures.evaluate(of.spec.link_failures, before, of.members, ready, START + timedelta(seconds=seconds))


def states(outcome: Evaluation) -> list[str]:
    return [status.state.value for status in outcome.statuses]


def test_a_failure_with_a_duration_begins_lasts_and_heals() -> None:
    wanted = failure(duration="30s")
    first = at(0, wanted)
    assert states(first) == ["Active"]
    assert first.cuts == {LinkCut("worker-0", "worker-1", Plane.LINK), LinkCut("worker-1", "worker-0", Plane.LINK)}
    assert first.next_change == START + timedelta(seconds=30)
    assert first.statuses[0].heals_at == "2026-01-01T12:00:30Z"
    later = at(29.9, wanted, before=first.statuses)
    assert states(later) == ["Active"]
    over = at(30, wanted, before=later.statuses)
    assert (states(over), over.cuts, over.next_change) == (["Healed"], frozenset(), None)
    assert states(at(3000, wanted, before=over.statuses)) == ["Healed"]


def test_a_failure_without_a_duration_lasts() -> None:
    first = at(0, failure())
    later = at(10**7, failure(), before=first.statuses)
    assert (states(later), later.next_change) == (["Active"], None)


def test_a_failure_waits_until_both_ends_are_ready() -> None:
    waiting = at(0, failure(duration="30s"), ready=["worker-0"])
    assert (states(waiting), waiting.cuts) == (["Pending"], frozenset())
    assert waiting.statuses[0].message == "waits until worker-1 is ready"
    begun = at(60, failure(duration="30s"), before=waiting.statuses)
    assert begun.statuses[0].started_at == "2026-01-01T12:01:00Z"


def test_a_failure_that_began_goes_on_when_a_pod_is_not_ready_any_more() -> None:
    first = at(0, failure())
    assert states(at(5, failure(), before=first.statuses, ready=[])) == ["Active"]


def test_a_failure_between_workers_that_are_not_there_is_told_and_cuts_nothing() -> None:
    outcome = at(0, failure(target="worker-7"))
    assert (states(outcome), outcome.cuts) == (["Pending"], frozenset())
    assert outcome.statuses[0].message == "there is no worker-7: the workers are worker-0 to worker-2"


def test_another_cut_under_the_same_name_begins_anew() -> None:
    healed = at(40, failure(duration="30s"), before=at(0, failure(duration="30s")).statuses)
    again = at(41, failure(target="worker-2", duration="30s"), before=healed.statuses)
    assert states(again) == ["Active"]
    assert again.statuses[0].started_at == "2026-01-01T12:00:41Z"


def test_a_longer_duration_lengthens_the_failure() -> None:
    first = at(0, failure(duration="30s"))
    assert states(at(45, failure(duration="1m"), before=first.statuses)) == ["Active"]


@pytest.mark.parametrize(
    ("seen", "observed"),
    [
        (None, "Unknown"),
        (view(), "Healthy"),
        (view(failed=("worker-1",)), "LinkFailed"),
        (view(failed=("worker-2",)), "Healthy"),
        (view("worker-2"), "NotWatched"),
        (view("worker-0", state="elect"), "NotWatched"),
        (view(None), "Unknown"),
    ],
)
def test_what_the_workers_see(seen: ClusterView | None, observed: str) -> None:
    of = owner({"linkFailures": [failure()]})
    outcome = at(0, failure())
    assert [one.observed for one in failures.observe(outcome, of.spec.link_failures, of.members, seen)] == [observed]


def test_a_healed_failure_keeps_what_was_seen() -> None:
    of = owner({"linkFailures": [failure(duration="30s")]})
    first = at(0, failure(duration="30s"))
    seen = failures.observe(first, of.spec.link_failures, of.members, view(failed=("worker-1",)))
    healed = at(30, failure(duration="30s"), before=seen)
    final = failures.observe(healed, of.spec.link_failures, of.members, view())
    assert (final[0].state, final[0].observed) == (FailureState.HEALED, "LinkFailed")


WANTED = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from("abcd"),
            "source": st.sampled_from(ALL),
            "target": st.sampled_from([*ALL, "worker-9", "*", "overseer"]),
        },
        optional={"duration": st.sampled_from(["1s", "1m30s", "0.5h"])},
    ).filter(lambda one: one["source"] != one["target"]),
    max_size=4,
    unique_by=lambda one: one["name"],
)


@given(WANTED, st.integers(0, 10_000), st.sets(st.sampled_from(ALL)))
def test_evaluating_again_at_the_same_time_changes_nothing(
    wanted: list[dict[str, Any]], seconds: int, ready: set[str]
) -> None:
    once = at(seconds, *wanted, ready=ready)
    assert at(seconds, *wanted, before=once.statuses, ready=ready) == once


@given(WANTED, st.lists(st.integers(0, 5_000), min_size=2, max_size=8))
def test_no_failure_goes_back(wanted: list[dict[str, Any]], times: list[int]) -> None:
    order = list(FailureState)
    before: tuple[FailureStatus, ...] = ()
    for seconds in sorted(times):
        now = at(seconds, *wanted, before=before).statuses
        for was, status in zip(before, now, strict=False):
            assert order.index(status.state) >= order.index(was.state)
        before = now


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("1m30s", 90), ("1.5h", 5400), ("250ms", 0.25)])
def test_durations(text: str, seconds: float) -> None:
    assert durations.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "-3s", "1d", "s", "1m 30s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        durations.seconds(text)


def test_a_failure_for_longer_than_the_calendar_reaches() -> None:
    assert durations.after(START, "99999999h").year == 9999
