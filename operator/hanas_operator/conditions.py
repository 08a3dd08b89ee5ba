"""From what was seen to the conditions of the HANas: pure functions."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct, structs

from hanas_core.members.verdicts import Verdict
from hanas_operator import cuts, durations, failures, names, pods
from hanas_operator.objects.owner import Owner
from hanas_operator.spec import Preset
from hanas_operator.status import MOST_MESSAGE, AlertStatus, Condition, ConditionType, FailureState, FailureStatus
from hanas_operator.storage import Finding
from hanas_operator.view import FAILED, UP, ClusterView

GRACE_SECONDS = {Preset.LAN: 10.0, Preset.CLOUD: 40.0}
"""By when a link that was cut must have been missed, by the preset of timings."""


class Problem(Struct, frozen=True):
    """Something that keeps an object from being as it should."""

    reason: str
    message: str


class World(Struct, frozen=True, kw_only=True):
    """What one reconcile saw."""

    owner: Owner
    generation: int
    paused: bool
    storage: Finding
    problems: tuple[Problem, ...]
    pods: tuple[dict[str, Any], ...]
    view: ClusterView | None
    view_trouble: str
    failures: tuple[FailureStatus, ...]
    alerts: tuple[AlertStatus, ...]
    now: datetime


def all_of(world: World, before: Iterable[Condition]) -> tuple[Condition, ...]:
    """Return every condition. ``before``: those of the last time, whose transition times are kept."""
    before = tuple(before)
    found = [_ready(world), _degraded(world), _links(world), _storage(world), _policy(world, before)]
    return stamped(found, before, world.generation, world.now)


def invalid(message: str, generation: int, now: datetime, before: Iterable[Condition]) -> tuple[Condition, ...]:
    """Return the conditions of a HANas whose spec cannot be read: what it was goes on, nothing is changed."""
    before = tuple(before)
    found = [
        _condition(ConditionType.READY, "False", "InvalidSpec", f"the spec cannot be used: {message}"),
        _condition(ConditionType.DEGRADED, "True", "InvalidSpec", "nothing is changed until the spec is valid again"),
    ]
    kept = [condition for condition in before if condition.type not in {"Ready", "Degraded"}]
    return (*stamped(found, before, generation, now), *kept)


def stamped(
    found: Iterable[Condition], before: Iterable[Condition], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """Return the conditions with their transition times: that of before as long as the status is the same."""
    known = {condition.type: condition for condition in before}
    result = []
    for condition in found:
        last = known.get(condition.type)
        since = last.last_transition_time if last is not None and last.status == condition.status else None
        result.append(
            structs.replace(
                condition,
                last_transition_time=since or durations.written(now),
                observed_generation=generation,
                message=condition.message[:MOST_MESSAGE],
            )
        )
    return tuple(result)


def _condition(kind: ConditionType, status: Any, reason: str, message: str) -> Condition:
    return Condition(type=kind.value, status=status, reason=reason, message=message, last_transition_time="")


def _ready(world: World) -> Condition:
    status, reason, message = _readiness(world)
    return _condition(ConditionType.READY, status, reason, message)


def _readiness(world: World) -> tuple[str, str, str]:
    view = world.view
    main = None if view is None else view.main
    known = None if view is None or main is None else view.member(main.member)
    if view is not None and view.serving is not None and (known is None or known.alive):
        labelled = pods.wanted_roles(world.pods, view.serving, world.owner.name)
        if view.serving not in world.owner.members or any(role == "main" for _, role in labelled):
            return "False", "MainUnreachable", f"{view.serving} is the main, but has no pod that could be labelled"
        return "True", "MainServing", f"{view.serving} serves as the main of epoch {view.epoch}"
    if world.problems:
        return "False", world.problems[0].reason, world.problems[0].message
    if world.storage.status == "False":
        return "False", "StorageNotReady", world.storage.message
    if view is None:
        return "False", "NoOverseer", "; ".join([_why_no_view(world), *pods.troubles(world.pods)])
    if main is None:
        return "False", "NoMain", "; ".join(["waiting for the first worker", *pods.troubles(world.pods)])
    if known is not None and not known.alive:
        return "False", "MainSilent", f"the main {main.member} has been silent; a backup takes over once that is proved"
    return "False", "TakeoverInProgress", f"{main.member} holds epoch {main.epoch} ({main.state})"


def _why_no_view(world: World) -> str:
    ready = any(pods.is_ready(pod) for pod in pods.of(world.pods, names.OVERSEER))
    return world.view_trouble if ready else "no overseer is ready yet"


def _degraded(world: World) -> Condition:
    found: list[Problem] = []
    if world.paused:
        found.append(Problem("Paused", "the objects are left as they are until the annotation hanas.dev/paused goes"))
    found += world.problems
    spec = world.owner.spec
    for component, wanted in ((names.WORKER, spec.workers), (names.OVERSEER, spec.overseer.replicas)):
        there = pods.of(world.pods, component)
        ready = sum(pods.is_ready(pod) for pod in there)
        if ready < wanted:
            told = [f"{ready} of {wanted} {component}s are ready", *pods.troubles(there)]
            found.append(Problem(f"{component.capitalize()}sMissing", "; ".join(told)))
    if world.storage.status == "False":
        found.append(Problem(world.storage.reason, world.storage.message))
    if world.view is None:
        found.append(Problem("NoOverseer", _why_no_view(world)))
    for alert in world.alerts:
        if alert.kind != Verdict.LINK_FAILED:
            found.append(Problem("Alerts", f"{alert.severity}: {alert.message}. {alert.advice}"))
    if not found:
        return _condition(ConditionType.DEGRADED, "False", "AsWanted", "everything is as it should be")
    words = dict.fromkeys(problem.message for problem in found if problem.message)
    return _condition(ConditionType.DEGRADED, "True", found[0].reason, "; ".join(words))


def _links(world: World) -> Condition:
    view, kind = world.view, ConditionType.LINK_HEALTHY
    if view is None or view.serving is None:
        return _condition(kind, "Unknown", "NoMain", "no main sends keep-alives")
    failed = [f"{link.origin} -> {link.to}" for link in view.links if link.state == FAILED]
    if failed:
        return _condition(
            kind, "False", "LinkFailed", f"no keep-alives come through: {', '.join(failed)}; the main is alive"
        )
    unknown = [f"{link.origin} -> {link.to}" for link in view.links if link.state != UP]
    if unknown or not view.links:
        return _condition(kind, "Unknown", "NotObserved", ", ".join(unknown) or "there is no backup to send them to")
    return _condition(kind, "True", "AllUp", f"keep-alives of {view.serving} reach every backup")


def _storage(world: World) -> Condition:
    found = world.storage
    return _condition(ConditionType.STORAGE_READY, found.status, found.reason, found.message)


def _policy(world: World, before: Sequence[Condition]) -> Condition:
    """Compare what was cut with what the backups see. What was found out once holds until it is found otherwise."""
    kind = ConditionType.POLICY_ENFORCED
    passed, blocked = _evidence(world)
    if passed:
        return _condition(
            kind,
            "False",
            "NotEnforced",
            f"keep-alives come through although NetworkPolicies cut them: {', '.join(passed)}. Link failures have no "
            "effect: the network plugin of this cluster does not enforce NetworkPolicies (Calico, Cilium and "
            "kind's own do), or another NetworkPolicy in this namespace admits what is cut (kubectl get networkpolicy)",
        )
    if blocked:
        return _condition(kind, "True", "Observed", f"NetworkPolicies cut keep-alives: {', '.join(blocked)}")
    known = next((condition for condition in before if condition.type == kind), None)
    if known is not None and known.status != "Unknown":
        return known
    return _condition(kind, "Unknown", "NotObserved", "no link from the main has been cut for long enough to tell")


def _evidence(world: World) -> tuple[list[str], list[str]]:
    """Return the links that were cut and still carry keep-alives, and those that do not any more."""
    view, owner = world.view, world.owner
    if view is None or view.serving is None:
        return [], []
    wanted = {failure.name: failure for failure in owner.spec.link_failures}
    passed: set[str] = set()
    blocked: set[str] = set()
    for status in world.failures:
        failure = wanted.get(status.name)
        if failure is None or status.state is not FailureState.ACTIVE or not isinstance(status.started_at, str):
            continue
        lasted = (world.now - durations.read(status.started_at)).total_seconds()
        for target in failures.watched(cuts.of(failure, owner.members), view):
            state, way = view.link(view.serving, target), f"{view.serving} -> {target}"
            if state == FAILED:
                blocked.add(way)
            elif state == UP and lasted >= GRACE_SECONDS[owner.spec.preset]:
                passed.add(way)
    return sorted(passed), sorted(blocked)
