"""The conditions of a HANas, computed from what one reconcile observed: pure functions."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from msgspec import UNSET, Struct, UnsetType, structs

from hanas_core.members.roles import LinkState
from hanas_core.members.verdicts import Verdict
from hanas_operator import cuts, durations, exposure, failures, kstatus, main_label, names, pods
from hanas_operator.objects.owner import Owner
from hanas_operator.obstacles import Obstacle
from hanas_operator.spec import Preset
from hanas_operator.status import (
    AlertStatus,
    ConditionType,
    FailureState,
    FailureStatus,
    Finding,
    Reason,
    SecretStatus,
    StatusCondition,
    TlsStatus,
)
from hanas_operator.storage import StorageFinding
from hanas_operator.view import ClusterView

MOST_MESSAGE = 1024
"""The most characters of a condition's message; the API allows 32,768."""
GRACE_SECONDS = {Preset.LAN: 10.0, Preset.CLOUD: 40.0}
"""The time within which workers notice a cut link, by the preset of timings."""
HIBERNATED = "Hibernated"
"""Reason of ``Ready`` when no pod runs, as the spec demands."""


class World(Struct, frozen=True, kw_only=True):
    """The observations of one reconcile."""

    owner: Owner
    generation: int
    paused: bool
    storage: StorageFinding
    updated: Finding
    """Whether the change of this generation is made."""
    problems: tuple[Obstacle, ...]
    pods: tuple[dict[str, Any], ...]
    view: ClusterView | None
    view_trouble: str
    failures: tuple[FailureStatus, ...]
    """Of the spec and of HANasLinkFailure resources."""
    alerts: tuple[AlertStatus, ...]
    now: datetime
    secret: SecretStatus = SecretStatus()
    tls: TlsStatus | UnsetType = UNSET


def all_of(world: World, before: Iterable[StatusCondition]) -> tuple[StatusCondition, ...]:
    """Return every condition. ``before``: the previous ones, whose transition times are kept."""
    previous = {condition.type: condition for condition in before}
    storage = world.storage
    ready = previous.get(ConditionType.READY)
    stalled = kstatus.stalled(world.problems, storage)
    complete = ready is not None and ready.observed_generation == world.generation
    findings: dict[str, Finding] = {
        ConditionType.READY: _ready(world),
        ConditionType.UPDATED: world.updated,
        ConditionType.DEGRADED: _degraded(world),
        ConditionType.LINK_HEALTHY: _links(world),
        ConditionType.STORAGE_READY: (storage.status, storage.reason, storage.message),
        ConditionType.POLICY_ENFORCED: _policy(world, previous.get(ConditionType.POLICY_ENFORCED)),
        ConditionType.EXPOSED: exposure.finding(world.owner.spec),
        ConditionType.RECONCILING: kstatus.reconciling(world.updated, stalled, complete=complete),
        ConditionType.STALLED: stalled,
    }
    made = stamped(findings, previous, world.generation, world.now)
    return made if world.updated[0] == "True" else _of_before(made, ready)


def _of_before(conditions: tuple[StatusCondition, ...], ready: StatusCondition | None) -> tuple[StatusCondition, ...]:
    """Return the conditions with the generation of ``ready`` for Ready: its pods are not those of the new one yet."""
    generation = 0 if ready is None or not isinstance(ready.observed_generation, int) else ready.observed_generation
    return tuple(
        structs.replace(one, observed_generation=generation) if one.type == ConditionType.READY else one
        for one in conditions
    )


def invalid(
    message: str, generation: int, now: datetime, before: Iterable[StatusCondition]
) -> tuple[StatusCondition, ...]:
    """Return the conditions of a HANas with an invalid spec: its objects stay unchanged."""
    previous = {condition.type: condition for condition in before}
    words = f"the spec cannot be used: {message}"
    findings: dict[str, Finding] = {
        ConditionType.READY: ("False", Reason.INVALID_SPEC, words),
        ConditionType.DEGRADED: ("True", Reason.INVALID_SPEC, "nothing changes until the spec is valid again"),
        ConditionType.RECONCILING: ("False", Reason.INVALID_SPEC, "the operator waits for a person"),
        ConditionType.STALLED: ("True", Reason.INVALID_SPEC, words),
    }
    others = [condition for kind, condition in previous.items() if kind not in findings]
    return (*stamped(findings, previous, generation, now), *others)


def stamped(
    findings: Mapping[str, Finding], previous: Mapping[str, StatusCondition], generation: int, now: datetime
) -> tuple[StatusCondition, ...]:
    """Return conditions with their transition times: the previous one while the status is the same."""
    conditions = []
    for kind, (status, reason, message) in findings.items():
        last = previous.get(kind)
        conditions.append(
            StatusCondition(
                type=str(kind),
                status=status,
                reason=reason,
                message=message[:MOST_MESSAGE],
                last_transition_time=(
                    last.last_transition_time if last and last.status == status else durations.written(now)
                ),
                observed_generation=generation,
            )
        )
    return tuple(conditions)


def _hibernation(world: World) -> Finding:
    if world.pods:
        return "False", "Hibernating", f"{len(world.pods)} pods have yet to end; {world.owner.claim} keeps the data"
    words = f"workers is 0: no pod runs, and {world.owner.claim} keeps the data; any other number wakes the cluster up"
    return "False", HIBERNATED, words


def _ready(world: World) -> Finding:
    view = world.view
    if world.owner.hibernates and not world.problems:
        return _hibernation(world)
    main = None if view is None else view.main
    member = None if view is None or main is None else view.member(main.member)
    if view is not None and view.serving is not None and (member is None or member.alive is not False):
        return _serving(world, view, view.serving)
    if world.problems:
        return "False", world.problems[0].reason, world.problems[0].message
    if world.storage.status == "False":
        return "False", "StorageNotReady", world.storage.message
    if view is None:
        return "False", "NoOverseer", "; ".join([_why_no_view(world), *pods.troubles(world.pods)])
    if main is None:
        return "False", "NoMain", "; ".join(["waiting for the first worker", *pods.troubles(world.pods)])
    if member is not None and member.alive is False:
        message = f"the main {main.member} has been silent; a backup takes over once that is proved"
        return "False", "MainSilent", message
    return "False", "TakeoverInProgress", f"{main.member} holds epoch {main.epoch} ({main.state})"


def _serving(world: World, view: ClusterView, main: str) -> Finding:
    """Return whether clients reach the main, and whether an overseer confirms that it is the main."""
    if main not in world.owner.members or not main_label.leads_to(world.pods, main, world.owner.name):
        return "False", "MainUnreachable", f"{main} is the main, but has no pod that could be labelled"
    if not view.confirmed:
        words = f"{main} calls itself the main of epoch {view.epoch}, and no overseer confirms it"
        return "Unknown", "MainUnconfirmed", f"{words}: {_why_no_view(world)}"
    return "True", "MainServing", f"{main} serves as the main of epoch {view.epoch}"


def _why_no_view(world: World) -> str:
    ready = any(pods.is_ready(pod) for pod in pods.of(world.pods, names.OVERSEER))
    return world.view_trouble if ready else "no overseer is ready yet"


def _degraded(world: World) -> Finding:
    problems: list[Obstacle] = []
    if world.paused:
        words = f"the objects are left as they are until the annotation {names.PAUSED} goes"
        problems.append(Obstacle("Paused", words))
    problems += world.problems
    spec = world.owner.spec
    for component, count in ((names.WORKER, spec.workers), (names.OVERSEER, world.owner.overseers)):
        own = pods.of(world.pods, component)
        ready = sum(pods.is_ready(pod) for pod in own)
        if ready < count:
            words = "; ".join([f"{ready} of {count} {component}s are ready", *pods.troubles(own)])
            problems.append(Obstacle(f"{component.capitalize()}sMissing", words))
    if world.storage.status == "False":
        problems.append(Obstacle(world.storage.reason, world.storage.message))
    if world.view is None and not world.owner.hibernates:
        problems.append(Obstacle("NoOverseer", _why_no_view(world)))
    problems += [
        Obstacle("Alerts", f"{alert.severity}: {alert.message}. {alert.advice}")
        for alert in world.alerts
        if alert.kind != Verdict.LINK_FAILED
    ]
    if not problems:
        return "False", "AsWanted", "everything is as it should be"
    messages = dict.fromkeys(problem.message for problem in problems if problem.message)
    return "True", problems[0].reason, "; ".join(messages)


def _links(world: World) -> Finding:
    view = world.view
    if view is None or view.serving is None:
        return "Unknown", "NoMain", "no main sends keep-alives"
    failed = [f"{link.origin} -> {link.to}" for link in view.links if link.state == LinkState.FAILED]
    if failed:
        return "False", "LinkFailed", f"no keep-alives come through: {', '.join(failed)}; the main is alive"
    unknown = [f"{link.origin} -> {link.to}" for link in view.links if link.state != LinkState.UP]
    if unknown or not view.links:
        return "Unknown", "NotObserved", ", ".join(unknown) or "there is no backup to send them to"
    return "True", "AllUp", f"keep-alives of {view.serving} reach every backup"


def _policy(world: World, last: StatusCondition | None) -> Finding:
    """Compare the cut links with what the backups observe. A result holds until another one replaces it."""
    passed, blocked = _evidence(world)
    if passed:
        message = (
            f"keep-alives come through although NetworkPolicies cut them: {', '.join(passed)}. Link failures have no "
            "effect: the network plugin of this cluster does not enforce NetworkPolicies (Calico, Cilium and "
            "kind's own do), or another NetworkPolicy in this namespace admits what is cut (kubectl get networkpolicy)"
        )
        return "False", "NotEnforced", message
    if blocked:
        return "True", "Observed", f"NetworkPolicies cut keep-alives: {', '.join(blocked)}"
    if last is not None and last.status != "Unknown":
        return last.status, last.reason, last.message
    return "Unknown", "NotObserved", "no link from the main has been cut for long enough to tell"


def _evidence(world: World) -> tuple[list[str], list[str]]:
    """Return the cut links that still carry keep-alives, and those that carry none."""
    view, owner = world.view, world.owner
    if view is None or view.serving is None:
        return [], []
    passed: set[str] = set()
    blocked: set[str] = set()
    for status in world.failures:
        if status.state is not FailureState.ACTIVE or not isinstance(status.started_at, str):
            continue
        failure = cuts.read(status.name, status.cut)
        lasted = (world.now - datetime.fromisoformat(status.started_at)).total_seconds()
        for target in failures.watched(cuts.of(failure, owner.members), view):
            state, link = view.link(view.serving, target), f"{view.serving} -> {target}"
            if state == LinkState.FAILED:
                blocked.add(link)
            elif state == LinkState.UP and lasted >= GRACE_SECONDS[owner.spec.preset]:
                passed.add(link)
    return sorted(passed), sorted(blocked)
