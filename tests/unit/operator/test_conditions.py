"""What is told of a cluster: conditions, from what was seen."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import structs

from hanas_core.members.verdicts import Verdict
from hanas_operator import conditions, names, pods, storage
from hanas_operator.conditions import World
from hanas_operator.obstacles import Obstacle
from hanas_operator.status import AlertStatus, FailureState, FailureStatus, StatusCondition
from hanas_operator.storage import StorageFinding
from hanas_operator.view import ClusterView
from tests.unit.operator.making import FOLDER_ID, alert, owner, pod, view

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
BOUND = StorageFinding("True", "Bound", "bound")


def running(main: str | None = "worker-0", *, workers: int = 3, **not_ready: Any) -> tuple[dict[str, Any], ...]:
    found = []
    for ordinal in range(workers):
        one = pod(f"demo-worker-{ordinal}", names.WORKER)
        if main is not None:
            role = names.MAIN if main == f"worker-{ordinal}" else names.BACKUP
            one["metadata"]["labels"][names.ROLE] = role
        found.append(one)
    return (*found, pod("demo-overseer-a", names.OVERSEER), pod("demo-overseer-b", names.OVERSEER))


def world(**changed: Any) -> World:
    made = World(
        owner=owner(folder_id=FOLDER_ID),
        generation=3,
        paused=False,
        storage=BOUND,
        updated=("True", "AllUpdated", "all pods run"),
        problems=(),
        pods=running(),
        view=view(),
        view_trouble="",
        failures=(),
        alerts=(),
        now=NOW,
    )
    return structs.replace(made, **changed)


def of(kind: str, seen: World, before: tuple[StatusCondition, ...] = ()) -> tuple[str, str, str]:
    found = next(condition for condition in conditions.all_of(seen, before) if condition.type == kind)
    return found.status, found.reason, found.message


def test_a_cluster_as_it_should_be() -> None:
    told = {one.type: (one.status, one.reason) for one in conditions.all_of(world(), ())}
    assert told == {
        "Ready": ("True", "MainServing"),
        "Updated": ("True", "AllUpdated"),
        "Degraded": ("False", "AsWanted"),
        "LinkHealthy": ("True", "AllUp"),
        "StorageReady": ("True", "Bound"),
        "PolicyEnforced": ("Unknown", "NotObserved"),
        "Exposed": ("True", "OpenToAll"),
        "Reconciling": ("False", "AllUpdated"),
        "Stalled": ("False", "NotStalled"),
    }


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"view": None, "view_trouble": "it is silent"}, "NoOverseer"),
        ({"view": view(None), "pods": running(None)}, "NoMain"),
        ({"view": view(state="elect")}, "TakeoverInProgress"),
        ({"view": view(alive=False)}, "MainSilent"),
        ({"view": view("worker-7"), "pods": running(None)}, "MainUnreachable"),
        ({"view": None, "storage": StorageFinding("False", "ClaimMissing", "make it")}, "StorageNotReady"),
        ({"view": None, "problems": (Obstacle("NameTaken", "rename it"),)}, "NameTaken"),
    ],
)
def test_why_a_cluster_is_not_ready(changed: dict[str, Any], reason: str) -> None:
    status, told, message = of("Ready", world(**changed))
    assert (status, told) == ("False", reason)
    assert message


def test_a_problem_beside_a_main_that_serves_is_no_outage() -> None:
    seen = world(problems=(Obstacle("Rejected", "too small"),))
    assert of("Ready", seen)[0] == "True"
    assert of("Degraded", seen) == ("True", "Rejected", "too small")


def test_pods_that_are_missing_are_told_with_their_last_words() -> None:
    crashing = pod(
        "demo-worker-2",
        names.WORKER,
        ready=False,
        containerStatuses=[
            {
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                "lastState": {"terminated": {"exitCode": 1, "message": "line\nhanas-worker: no volume\n"}},
            }
        ],
    )
    seen = world(pods=(*running()[:2], crashing, *running()[3:]))
    status, reason, message = of("Degraded", seen)
    assert (status, reason) == ("True", "WorkersMissing")
    assert message == "2 of 3 workers are ready; demo-worker-2: CrashLoopBackOff: hanas-worker: no volume"


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "full"}]},
            ["p: Unschedulable: full"],
        ),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}, []),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no x"}}}]},
         ["p: ImagePullBackOff: no x"]),
        ({"containerStatuses": [{"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]},
         ["p: OOMKilled: exit code 137"]),
        ({}, []),
    ],
)  # fmt: skip
def test_why_a_pod_is_not_ready(status: dict[str, Any], told: list[str]) -> None:
    found = {"metadata": {"name": "p", "labels": {}}, "status": status}
    assert pods.troubles([found]) == told


def test_alerts_degrade_but_a_failed_link_alone_does_not() -> None:
    told = AlertStatus(
        severity="critical", kind="FolderFull", member="a", about="b", message="full", advice="make room", since=""
    )
    assert of("Degraded", world(alerts=(told,))) == ("True", "Alerts", "critical: full. make room")
    assert of("Degraded", world(alerts=(structs.replace(told, kind="LinkFailed"),)))[0] == "False"


def test_a_paused_cluster_says_so() -> None:
    assert of("Degraded", world(paused=True))[1] == "Paused"


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (view(failed=("worker-1",)), ("False", "LinkFailed")),
        (view(), ("True", "AllUp")),
        (view(members=1), ("Unknown", "NotObserved")),
        (view(None), ("Unknown", "NoMain")),
        (None, ("Unknown", "NoMain")),
    ],
)
def test_links(seen: ClusterView | None, told: tuple[str, str]) -> None:
    assert of("LinkHealthy", world(view=seen))[:2] == told


def cut(
    seconds: float, *, seen: ClusterView | None, before: tuple[StatusCondition, ...] = (), source: str = "worker-0"
) -> Any:
    started = (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    other = "worker-2" if source == "worker-1" else "worker-1"
    words = f"{source} <-> {other} (link)"
    status = FailureStatus(name="wire-1", state=FailureState.ACTIVE, cut=words, observed="", started_at=started)
    return of("PolicyEnforced", world(failures=(status,), view=seen), before)


def test_a_network_plugin_that_ignores_policies_is_found_out() -> None:
    assert cut(1, seen=view())[:2] == ("Unknown", "NotObserved"), "too early to tell"
    status, reason, message = cut(11, seen=view())
    assert (status, reason) == ("False", "NotEnforced")
    assert "worker-0 -> worker-1" in message


def test_a_network_plugin_that_enforces_policies_is_found_out_at_once() -> None:
    assert cut(1, seen=view(failed=("worker-1",)))[:2] == ("True", "Observed")


def test_what_was_found_out_about_policies_holds_until_it_is_found_otherwise() -> None:
    last = StatusCondition(
        type="PolicyEnforced", status="True", reason="Observed", message="m", last_transition_time="t"
    )
    assert of("PolicyEnforced", world(), (last,)) == ("True", "Observed", "m")
    assert cut(11, seen=view(), before=(last,))[0] == "False"


def test_a_cut_that_no_keep_alive_crosses_proves_nothing() -> None:
    assert cut(100, seen=view(), source="worker-1")[0] == "Unknown"


def test_a_transition_time_changes_only_with_the_status() -> None:
    first = conditions.all_of(world(), ())
    later = conditions.all_of(world(now=NOW + timedelta(hours=1), generation=4), first)
    assert {one.last_transition_time for one in later} == {"2026-01-01T12:00:00Z"}
    assert {one.observed_generation for one in later} == {4}
    failed = conditions.all_of(world(now=NOW + timedelta(hours=2), view=None), later)
    assert next(one for one in failed if one.type == "Ready").last_transition_time == "2026-01-01T14:00:00Z"


def claim(**changed: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "metadata": {"name": "demo-data"},
        "spec": {"accessModes": ["ReadWriteMany"], "volumeName": "pv-1", "storageClassName": "nfs"},
        "status": {"phase": "Bound", "accessModes": ["ReadWriteMany"]},
    }
    return {name: {**made[name], **changed.get(name, {})} for name in made}


@pytest.mark.parametrize(
    ("spec", "found", "unknown", "told", "expected"),
    [
        ({}, None, None, "", ("Unknown", "ClaimPending", False)),
        ({"existingClaim": "x"}, None, None, "", ("False", "ClaimMissing", True)),
        ({}, claim(), None, "", ("True", "Bound", False)),
        ({}, claim(metadata={"deletionTimestamp": "now"}), None, "", ("False", "ClaimTerminating", False)),
        ({}, claim(status={"accessModes": ["ReadWriteOnce"]}), None, "", ("False", "ClaimNotShared", True)),
        ({}, claim(status={"phase": "Lost"}), None, "", ("False", "ClaimLost", False)),
        ({}, claim(status={"phase": "Pending"}), "nfs", "", ("False", "ClassUnknown", False)),
        ({}, claim(status={"phase": "Pending"}), None, "cannot do RWX", ("False", "ProvisioningFailed", False)),
        ({}, claim(status={"phase": "Pending"}), None, "", ("Unknown", "ClaimPending", False)),
    ],
)
def test_what_a_claim_tells(
    spec: dict[str, Any], found: dict[str, Any] | None, unknown: str | None, told: str, expected: tuple[str, str, bool]
) -> None:
    finding = storage.of_claim(owner({"storage": spec}), found, unknown_class=unknown, warning=told)
    assert (finding.status, finding.reason, finding.blocks) == expected


@pytest.mark.parametrize(
    ("seen", "troubles", "reason"),
    [
        (view(), [], "Bound"),
        (view(folder_id="ff" * 8), [], "ForeignFolder"),
        (None, ["demo-overseer-a: Error: hanas-overseer: the communication folder cannot be used: x"], "FolderRefused"),
        (view(alerts=(alert(Verdict.FOLDER_FULL),)), [], "FolderFull"),
        (view(alerts=(alert(Verdict.FOLDER_UNAVAILABLE),)), [], "FolderUnavailable"),
    ],
)
def test_what_the_folder_tells(seen: ClusterView | None, troubles: list[str], reason: str) -> None:
    told = [
        AlertStatus(severity="critical", kind=one.kind, member="", about="", message="m", advice="a", since="")
        for one in ([] if seen is None else seen.alerts)
    ]
    assert storage.of_folder(BOUND, FOLDER_ID, seen, told, troubles).reason == reason
