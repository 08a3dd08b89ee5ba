"""Which worker pod follows a new template next: backups first, one at a time, and the main last."""

from typing import Any

import pytest

from hanas_operator import drift, kinds, names
from hanas_operator.replacing import REVISION, due
from hanas_operator.view import ClusterView
from tests.unit.operator.api_server import Resource
from tests.unit.operator.conftest import Bench
from tests.unit.operator.making import KEY, NAMESPACE, condition, pod, settle, view


def stateful_set(count: int = 3, **status: Any) -> Resource:
    numbers = dict.fromkeys(("replicas", "readyReplicas", "availableReplicas"), count)
    return {
        "metadata": {"name": "demo-worker", "generation": 2},
        "spec": {"replicas": count},
        "status": {"observedGeneration": 2, "updateRevision": "new", **numbers, **status},
    }


def workers(*revisions: str, unready: tuple[int, ...] = (), main: int | None = None) -> list[Resource]:
    made = []
    for number, revision in enumerate(revisions):
        one = pod(f"demo-worker-{number}", names.WORKER, ready=number not in unready)
        one["metadata"]["labels"] |= {REVISION: revision, names.ROLE: "main" if number == main else "backup"}
        made.append(one)
    return [pod("demo-overseer-0", names.OVERSEER), *made]


def name_of(found: Resource | None) -> str | None:
    return None if found is None else found["metadata"]["name"].removeprefix("demo-")


@pytest.mark.parametrize(
    ("present", "seen", "next_one"),
    [
        (workers("new", "new", "new"), view(), None),
        (workers("old", "old", "old"), view("worker-2"), "worker-1"),
        (workers("old", "new", "old"), view("worker-2"), "worker-0"),
        (workers("new", "new", "old"), view("worker-2"), "worker-2"),
        (workers("old", "old", "old"), view("worker-0"), "worker-2"),
        # The one that is about to be the main counts as such, and so does the labelled one where nobody tells.
        (workers("old", "old", "old", main=0), view("worker-2", state="elect"), "worker-1"),
        (workers("old", "old", "old", main=2), None, "worker-1"),
        (workers("old", "old", "old", main=2), view(None), "worker-1"),
        # Who serves nobody comes first, but behind him the main still comes last.
        (workers("old", "old", "old", unready=(0,)), view("worker-2"), "worker-0"),
        (workers("old", "old", "old", unready=(2,)), view("worker-2"), "worker-1"),
        (workers("old", "old", "old", unready=(0, 1, 2)), view("worker-2"), "worker-1"),
        # One that was replaced must be ready first.
        (workers("old", "old", "new", unready=(2,)), view("worker-0"), None),
        (workers("old", "old"), view(members=2), None),
    ],
)
def test_the_order(present: list[Resource], seen: ClusterView | None, next_one: str | None) -> None:
    assert name_of(due(stateful_set(), present, seen)) == next_one


@pytest.mark.parametrize("status", [{"observedGeneration": 1}, {"availableReplicas": 2}, {"updateRevision": ""}])
def test_it_waits_for_the_controller_and_for_pods_that_have_just_become_ready(status: dict[str, Any]) -> None:
    assert due(stateful_set(**status), workers("old", "old", "old"), view()) is None


def test_one_at_a_time() -> None:
    present = workers("old", "old", "old")
    present[3]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert due(stateful_set(), present, view()) is None


async def test_a_new_template_replaces_pod_after_pod(bench: Bench) -> None:
    await bench.overseer.show(view("worker-2"))
    await bench.start()
    gone: list[str] = []
    for _ in range(3):
        newer = {"updateRevision": "r2", "availableReplicas": 3, "updatedReplicas": len(gone)}
        bench.server.change(kinds.STATEFUL_SET, NAMESPACE, "demo-worker", {"status": newer})
        before = {one["metadata"]["name"] for one in bench.server.all(kinds.POD)}
        await bench.reconcile()
        gone += sorted(before - {one["metadata"]["name"] for one in bench.server.all(kinds.POD)})
        assert condition(bench.server, "Updated")["reason"] == "Updating"
        count = len(bench.server.writes())
        await bench.reconcile()
        assert not [call for call in bench.server.writes()[count:] if call.verb == "delete"], "one is missing"
        settle(bench.server)
        bench.server.change(kinds.POD, NAMESPACE, gone[-1], {"metadata": {"labels": {REVISION: "r2"}}})
    assert gone == ["demo-worker-1", "demo-worker-0", "demo-worker-2"]


async def test_a_pod_that_changed_since_it_was_listed_stays(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.overseer.show(view())
    await bench.start()
    newer = {"status": {"updateRevision": "r2", "availableReplicas": 3, "updatedReplicas": 0}}
    bench.server.change(kinds.STATEFUL_SET, NAMESPACE, "demo-worker", newer)
    listed, read = bench.api.list, []

    async def stale(kind: kinds.ResourceKind, *arguments: Any, cached: bool = False, **more: Any) -> list[Resource]:
        found = await listed(kind, *arguments, cached=cached, **more)
        if kind == kinds.POD and not cached:
            read.append(True)
            for one in found:
                one["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        return found

    monkeypatch.setattr(bench.api, "list", stale)
    await bench.reconcile()
    assert read
    assert not [call for call in bench.server.calls if call.verb == "delete"]


async def test_a_refused_deletion_is_told(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    newer = {"status": {"updateRevision": "r2", "availableReplicas": 3, "updatedReplicas": 0}}
    bench.server.change(kinds.STATEFUL_SET, NAMESPACE, "demo-worker", newer)
    bench.server.refusals["delete", "pods"] = (403, "not allowed")
    await bench.reconcile()
    assert "the deletion of the pod demo-worker-2" in condition(bench.server, "Degraded")["message"]


async def test_a_paused_one_keeps_its_pods(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    bench.server.change(kinds.HANAS, *KEY, {"metadata": {"annotations": {names.PAUSED: "true"}}})
    newer = {"status": {"updateRevision": "r2", "availableReplicas": 3, "updatedReplicas": 0}}
    bench.server.change(kinds.STATEFUL_SET, NAMESPACE, "demo-worker", newer)
    await bench.reconcile()
    assert not [call for call in bench.server.calls if call.verb == "delete"]


async def test_another_strategy_is_replaced_as_a_whole(bench: Bench) -> None:
    """The API server refuses OnDelete beside the fields of a rolling update, which somebody may have added."""
    await bench.start()
    rolling = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}}
    assert drift.removals({"spec": rolling}, {"spec": {"updateStrategy": {"type": "OnDelete"}}}) == {
        "spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": None}}
    }
    bench.server.change(kinds.STATEFUL_SET, NAMESPACE, "demo-worker", {"spec": rolling})
    await bench.reconcile()
    there = bench.server.take(kinds.STATEFUL_SET, NAMESPACE, "demo-worker")
    assert there["spec"]["updateStrategy"] == {"type": "OnDelete"}
