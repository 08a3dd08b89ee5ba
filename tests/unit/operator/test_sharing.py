"""Objects that were orphaned, folders that two want, names that are used again at once, alerts of workers that left."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hanas_core.members.verdicts import Verdict
from hanas_operator import claims, cuts, durations, kinds, names
from hanas_operator.api import Resource
from hanas_operator.spec import Direction, LinkFailure, Plane
from tests.unit.operator.conftest import Bench
from tests.unit.operator.making import (
    FOLDER_ID,
    KEY,
    NAMESPACE,
    alert,
    condition,
    failure,
    role,
    secret_of,
    settle,
    status,
    view,
)

ORPHANABLE = (*kinds.APPLIED, kinds.SECRET)


async def test_orphans_are_adopted(bench: Bench) -> None:
    """After ``kubectl delete hanas --cascade=orphan``, and after objects were restored from a copy."""
    await bench.overseer.show(view())
    await bench.start()
    secret = secret_of(bench.server)
    for kind in ORPHANABLE:
        for found in bench.server.all(kind):
            found["metadata"].pop("ownerReferences", None)
            found["metadata"].setdefault("ownerReferences", []).append({"kind": "App", "name": "a", "uid": "x"})
    bench.server.remove(kinds.HANAS, *KEY)
    await bench.reconcile()
    later = {"creationTimestamp": "2026-02-02T00:00:00Z"}
    bench.server.put(kinds.HANAS, *KEY, metadata=later, spec={})
    uid = bench.server.take(kinds.HANAS, *KEY)["metadata"]["uid"]
    await bench.reconcile()
    assert condition(bench.server, "Degraded")["reason"] != "NameTaken"
    for kind in kinds.APPLIED:
        if kind is not kinds.CLAIM:
            for found in bench.server.all(kind):
                assert uid in [reference["uid"] for reference in found["metadata"]["ownerReferences"]]
    assert secret_of(bench.server) == secret
    assert status(bench.server)["folderId"] == FOLDER_ID
    await bench.hear()
    await bench.reconcile()
    assert role(bench.server, "worker-0") == "main"
    assert condition(bench.server, "Ready")["status"] == "True"


async def test_an_orphan_is_adopted_although_the_watch_still_shows_its_former_owner(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.overseer.show(view())
    await bench.start()
    listed, shown = bench.api.list, []

    async def late(kind: kinds.ResourceKind, *arguments: Any, cached: bool = False, **more: Any) -> list[Resource]:
        resources = await listed(kind, *arguments, cached=cached, **more)
        if kind == kinds.CLAIM and cached:
            former = [{"kind": "HANas", "name": "demo", "uid": "former", "controller": True}]
            resources = [{**one, "metadata": {**one["metadata"], "ownerReferences": former}} for one in resources]
            shown.append(len(resources))
        return resources

    monkeypatch.setattr(bench.api, "list", late)
    await bench.reconcile()
    assert any(shown)
    assert condition(bench.server, "Degraded")["status"] == "False"


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (("a", ""), ("a", ""), True),
        (("a", ""), ("b", ""), False),
        (("a", ""), ("a", "x"), True),
        (("a", "x"), ("a", "x/y"), True),
        (("a", "x"), ("a", "xy"), False),
        (("a", "x/y"), ("a", "x/z"), False),
    ],
)
def test_folders_overlap(one: tuple[str, str], other: tuple[str, str], overlap: bool) -> None:
    assert claims._overlap(one, other) is claims._overlap(other, one) is overlap


@pytest.mark.parametrize(
    ("theirs", "refused"),
    [
        ({"existingClaim": "demo-data"}, True),
        ({"existingClaim": "demo-data", "subPath": "a/b"}, True),
        ({"existingClaim": "another"}, False),
        ({}, False),
    ],
)
@pytest.mark.parametrize("created", ["2025-01-01T00:00:00Z", "2027-01-01T00:00:00Z"])
async def test_a_folder_belongs_to_the_older_one(
    bench: Bench, theirs: dict[str, Any], refused: bool, created: str
) -> None:
    bench.server.put(
        kinds.HANAS, NAMESPACE, "theirs", metadata={"creationTimestamp": created}, spec={"storage": theirs}
    )
    bench.want()
    await bench.reconcile()
    is_younger = created < "2026"
    assert (bench.server.find(kinds.STATEFUL_SET, NAMESPACE, "demo-worker") is None) is (refused and is_younger)
    if refused and is_younger:
        degraded = condition(bench.server, "Degraded")
        assert degraded["reason"] == condition(bench.server, "Ready")["reason"] == "ClaimInUse"
        assert "the HANas theirs is older" in degraded["message"]
        bench.server.remove(kinds.HANAS, NAMESPACE, "theirs")
        await bench.reconcile()
        assert bench.server.find(kinds.STATEFUL_SET, NAMESPACE, "demo-worker") is not None


async def test_a_new_one_of_the_same_name_does_not_take_the_folder_of_the_former(bench: Bench) -> None:
    """Delete and create at once: pods, and what was heard of them, are still there."""
    await bench.overseer.show(view())
    await bench.start(reclaim="Delete")
    assert status(bench.server)["folderId"] == FOLDER_ID
    former = bench.server.objects[kinds.HANAS.group, kinds.HANAS.plural, *KEY]
    kept = {kind: bench.server.all(kind) for kind in (*ORPHANABLE, kinds.POD)}
    del bench.server.objects[kinds.HANAS.group, kinds.HANAS.plural, *KEY]
    bench.server.put(kinds.HANAS, *KEY, metadata={"creationTimestamp": "2026-02-02T00:00:00Z"}, spec={})
    assert bench.server.take(kinds.HANAS, *KEY)["metadata"]["uid"] != former["metadata"]["uid"]
    for _ in range(2):
        await bench.reconcile()
        assert status(bench.server)["folderId"] == ""
    assert {kind: bench.server.all(kind) for kind in (*ORPHANABLE, kinds.POD)} == kept
    # The objects are collected, the pods take their time to end.
    for kind in ORPHANABLE:
        for found in bench.server.all(kind):
            del bench.server.objects[kind.group, kind.plural, NAMESPACE, found["metadata"]["name"]]
    await bench.reconcile()
    assert bench.server.all(kinds.STATEFUL_SET) == []
    assert condition(bench.server, "Degraded")["reason"] == "FormerPods"
    assert status(bench.server)["folderId"] == ""
    for found in bench.server.all(kinds.POD):
        bench.server.remove(kinds.POD, NAMESPACE, found["metadata"]["name"])
    await bench.reconcile()
    settle(bench.server)
    for found in bench.server.all(kinds.POD):
        found["metadata"]["creationTimestamp"] = "2026-02-02T00:00:09Z"
    await bench.overseer.show(view(folder_id="fedcba9876543210"))
    await bench.reconcile()
    await bench.hear()
    await bench.reconcile()
    assert status(bench.server)["folderId"] == "fedcba9876543210"


async def test_pods_whose_workload_was_made_anew_are_no_former_ones(bench: Bench) -> None:
    """After ``kubectl delete statefulset --cascade=orphan``, as it is done to change what cannot be changed."""
    await bench.overseer.show(view())
    await bench.start()
    for kind, name in ((kinds.STATEFUL_SET, "demo-worker"), (kinds.DEPLOYMENT, "demo-overseer")):
        bench.server.take(kind, NAMESPACE, name)["metadata"]["creationTimestamp"] = "2026-02-02T00:00:00Z"
    await bench.reconcile()
    assert condition(bench.server, "Ready")["status"] == "True"


async def test_a_paused_cluster_heals_its_timed_cuts(bench: Bench) -> None:
    await bench.overseer.show(view())
    lasting = failure("lasting", "worker-2", "worker-1", direction="to")
    await bench.start(linkFailures=[failure(duration="30s"), lasting])
    bench.server.change(kinds.HANAS, *KEY, {"metadata": {"annotations": {names.PAUSED: "true"}}})
    bench.server.change(kinds.HANAS, *KEY, {"spec": {"linkFailures": []}})

    def peers(member: str) -> list[str]:
        policy = bench.server.take(kinds.POLICY, NAMESPACE, f"demo-{member}")["spec"]
        expressions = policy["ingress"][0]["from"][0]["podSelector"].get("matchExpressions", [{"values": []}])
        return list(expressions[0]["values"])

    again = await bench.reconcile()
    assert again is not None
    assert again <= 30
    assert peers("worker-1") == ["demo-worker-0", "demo-worker-2"]
    past = durations.written(datetime.now(UTC) - timedelta(seconds=1))
    told = status(bench.server)["linkFailures"]
    bench.server.change(kinds.HANAS, *KEY, {"status": {"linkFailures": [{**told[0], "healsAt": past}, told[1]]}})
    bench.server.refusals["patch", "networkpolicies"] = (403, "not now")
    await bench.reconcile()
    assert status(bench.server)["linkFailures"][0]["state"] == "Active"
    bench.server.refusals.clear()
    bench.server.remove(kinds.POLICY, NAMESPACE, "demo-overseer")
    await bench.reconcile()
    assert [one["state"] for one in status(bench.server)["linkFailures"]] == ["Healed", "Active"]
    assert (peers("worker-0"), peers("worker-1")) == ([], ["demo-worker-2"])
    assert bench.server.find(kinds.POLICY, NAMESPACE, "demo-overseer") is None, "everything else is left"
    count = len(bench.server.writes())
    await bench.reconcile()
    assert bench.server.writes()[count:] == []


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("planes", [(Plane.LINK,), (Plane.CLIENT, Plane.LINK)])
@pytest.mark.parametrize("target", ["worker-1", "*", "overseer"])
def test_a_recorded_cut_can_be_read(direction: Direction, planes: tuple[Plane, ...], target: str) -> None:
    given = LinkFailure(name="a", source="worker-0", target=target, direction=direction, planes=planes)
    assert cuts.read("a", cuts.words(given)) == given


async def test_alerts_of_removed_members_end_with_them(bench: Bench) -> None:
    gone = alert(Verdict.LINK_FAILED, "it is missed", member="worker-0", about="worker-4")
    by_gone = alert(Verdict.LINK_FAILED, "I miss it", member="worker-4", about="worker-0")
    overseers = alert(Verdict.FOLDER_FULL, "full", member="overseer", about="worker-1")
    await bench.overseer.show(view(alerts=(gone, by_gone, overseers)))
    await bench.start(workers=5)
    assert len(status(bench.server)["alerts"]) == 3
    bench.want(workers=3)
    await bench.reconcile()
    assert [one["member"] for one in status(bench.server)["alerts"]] == ["overseer"]
