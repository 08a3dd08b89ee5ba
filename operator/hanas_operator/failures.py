"""Link failures over time: pending until the pods are there, active while they last, healed after their duration.

A pure function of the spec, of the recorded status, and of the time. The cut of a failure is part of its record:
another cut under the same name is a new failure.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from msgspec import UNSET, structs

from hanas_core.members.roles import LinkState
from hanas_core.members.verdicts import Verdict
from hanas_operator import cuts, durations
from hanas_operator.cuts import ANYBODY, OVERSEER, LinkCut
from hanas_operator.spec import LinkFailure, Plane
from hanas_operator.status import FailureState, FailureStatus
from hanas_operator.view import ClusterView

NOT_WATCHED = "NotWatched"
"""Only the main sends keep-alives: the state of a link between backups is unknown."""
_NEVER = datetime.max.replace(tzinfo=UTC)


class Evaluation(NamedTuple):
    """The state of all failures at one time."""

    statuses: tuple[FailureStatus, ...]
    cuts: frozenset[LinkCut]
    next_change: datetime | None
    """When the next failure heals."""


def evaluate(
    spec: Sequence[LinkFailure],
    before: Collection[FailureStatus],
    members: Sequence[str],
    ready: Collection[str],
    now: datetime,
) -> Evaluation:
    """Return the state at ``now``. ``ready``: the members whose pods are ready; a failure waits for them."""
    recorded = {status.name: status for status in before}
    statuses: list[FailureStatus] = []
    active: set[LinkCut] = set()
    ends: list[datetime] = []
    for failure in spec:
        status, end = _evaluate(failure, recorded.get(failure.name), members, ready, now)
        statuses.append(status)
        if status.state is FailureState.ACTIVE:
            active |= cuts.of(failure, members)
            if end is not None:
                ends.append(end)
    return Evaluation(tuple(statuses), frozenset(active), min(ends, default=None))


def _evaluate(
    failure: LinkFailure,
    before: FailureStatus | None,
    members: Sequence[str],
    ready: Collection[str],
    now: datetime,
) -> tuple[FailureStatus, datetime | None]:
    words = cuts.words(failure)
    pending = FailureStatus(name=failure.name, state=FailureState.PENDING, cut=words, observed=Verdict.UNKNOWN)
    if before is None or before.cut != words:
        before = pending
    ends = [failure.source] + ([] if failure.target in {ANYBODY, OVERSEER} else [failure.target])
    started = before.started_at
    if not isinstance(started, str):
        strangers = [end for end in ends if end not in members]
        if strangers:
            message = f"there is no {' and no '.join(strangers)}"
            message += f": the workers are {members[0]} to {members[-1]}" if members else ": the cluster hibernates"
            return structs.replace(pending, message=message), None
        absent = [end for end in ends if end not in ready]
        if absent:
            message = f"waits until {' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} ready"
            return structs.replace(pending, message=message), None
        started = durations.written(now)
    running = structs.replace(pending, state=FailureState.ACTIVE, observed=before.observed, started_at=started)
    if failure.duration is UNSET:
        return running, None
    heals = durations.after(datetime.fromisoformat(started), str(failure.duration))
    state = FailureState.ACTIVE if now < heals else FailureState.HEALED
    return structs.replace(running, state=state, heals_at=durations.written(heals)), heals


def frozen(before: Sequence[FailureStatus], members: Sequence[str], now: datetime) -> Evaluation:
    """Return the state at ``now`` while the HANas is paused: none begins, and what is active heals at its time.

    By the record alone: the spec may have changed, and changes wait.
    """
    statuses = tuple(
        structs.replace(status, state=FailureState.HEALED) if _heals(status) <= now else status for status in before
    )
    active = [status for status in statuses if status.state is FailureState.ACTIVE]
    present = (cuts.of(cuts.read(status.name, status.cut), members) for status in active)
    ends = [end for status in active if (end := _heals(status)) != _NEVER]
    return Evaluation(statuses, frozenset().union(*present), min(ends, default=None))


def _heals(status: FailureStatus) -> datetime:
    if status.state is not FailureState.ACTIVE or not isinstance(status.heals_at, str):
        return _NEVER
    return datetime.fromisoformat(status.heals_at)


def observe(
    evaluation: Evaluation, spec: Sequence[LinkFailure], members: Sequence[str], view: ClusterView | None
) -> tuple[FailureStatus, ...]:
    """Return the statuses with what workers observe of the active failures; a healed one keeps its last observation."""
    failures = {failure.name: failure for failure in spec}
    return tuple(
        structs.replace(status, observed=seen(cuts.of(failures[status.name], members), view))
        if status.state is FailureState.ACTIVE
        else status
        for status in evaluation.statuses
    )


def seen(active: frozenset[LinkCut], view: ClusterView | None) -> str:
    """Return what the workers observe of the links that these cuts concern."""
    if view is None or view.main is None:
        return Verdict.UNKNOWN
    main = view.member(view.main.member)
    if main is not None and main.verdict == Verdict.PRIMARY_ISOLATED:
        return main.verdict
    targets = watched(active, view)
    if not targets:
        return NOT_WATCHED
    states = {view.link(view.main.member, target) for target in targets}
    if LinkState.UP in states:
        return Verdict.HEALTHY.value
    if LinkState.FAILED in states:
        return Verdict.LINK_FAILED.value
    verdicts = {member.verdict for target in targets if (member := view.member(target)) is not None}
    return min(verdicts - {Verdict.UNKNOWN}, default=Verdict.UNKNOWN)


def watched(active: Collection[LinkCut], view: ClusterView) -> list[str]:
    """Return the backups whose link from the main is cut."""
    main = view.serving
    return sorted({cut.target for cut in active if cut.plane is Plane.LINK and cut.source == main})
