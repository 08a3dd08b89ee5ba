"""One reconcile after the other, against an API server in memory."""

import contextlib
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from hanas_core.members.verdicts import Verdict
from hanas_operator import durations, kinds, names
from hanas_operator.api import ApiError
from hanas_operator.view import TakeoverView
from tests.unit.operator.conftest import Bench
from tests.unit.operator.making import (
    FOLDER_ID,
    IMAGE,
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
from tests.unit.operator.waiting import until


def reasons(bench: Bench) -> dict[str, str]:
    return {one["type"]: one["reason"] for one in status(bench.server)["conditions"]}


def events(bench: Bench) -> list[str]:
    return [event["reason"] for event in bench.server.all(kinds.EVENT)]


async def test_a_new_cluster_gets_everything_and_says_so(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    made = {kind.plural: len(bench.server.all(kind)) for kind in (*kinds.APPLIED, kinds.SECRET)}
    assert made == {
        "persistentvolumeclaims": 1,
        "configmaps": 1,
        "networkpolicies": 4,
        "services": 4,
        "poddisruptionbudgets": 2,
        "deployments": 1,
        "statefulsets": 1,
        "secrets": 1,
    }
    told = status(bench.server)
    assert (told["main"], told["epoch"], told["readyWorkers"], told["folderId"]) == ("worker-0", 1, 3, FOLDER_ID)
    assert told["observedGeneration"] == bench.server.take(kinds.HANAS, *KEY)["metadata"]["generation"]
    assert condition(bench.server, "Ready")["status"] == "True"
    assert condition(bench.server, "Degraded")["status"] == "False"
    assert await bench.reconcile() == 60.0, "everything is as it should be"
    template = bench.server.take(kinds.STATEFUL_SET, NAMESPACE, "demo-worker")["spec"]["template"]
    assert template["spec"]["containers"][0]["image"] == IMAGE


async def test_nothing_is_written_when_nothing_changed(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start(linkFailures=[failure()], resources={"requests": {"cpu": 1}})
    await bench.reconcile()
    before = len(bench.server.writes())
    assert await bench.reconcile() == 5.0, "a link failure is active: look again soon"
    assert bench.server.writes()[before:] == []


async def test_what_others_changed_or_deleted_is_put_right(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    bench.server.change(kinds.STATEFUL_SET, NAMESPACE, "demo-worker", {"spec": {"replicas": 7}})
    bench.server.change(kinds.SERVICE, NAMESPACE, "demo-main", {"spec": {"selector": {names.ROLE: "backup"}}})
    bench.server.remove(kinds.POLICY, NAMESPACE, "demo-worker-1")
    await bench.reconcile()
    assert bench.server.take(kinds.STATEFUL_SET, NAMESPACE, "demo-worker")["spec"]["replicas"] == 3
    assert bench.server.take(kinds.SERVICE, NAMESPACE, "demo-main")["spec"]["selector"][names.ROLE] == "main"
    assert bench.server.find(kinds.POLICY, NAMESPACE, "demo-worker-1") is not None


async def test_what_others_added_is_left(bench: Bench) -> None:
    await bench.start()
    note = {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}
    bench.server.change(kinds.STATEFUL_SET, NAMESPACE, "demo-worker", note)
    await bench.reconcile()
    bench.want(workers=4)
    await bench.reconcile()
    found = bench.server.take(kinds.STATEFUL_SET, NAMESPACE, "demo-worker")
    assert found["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] == "now"
    assert found["spec"]["replicas"] == 4


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kinds.SERVICE, "demo"),
        (kinds.SECRET, "demo-components"),
        (kinds.CLAIM, "demo-data"),
        (kinds.STATEFUL_SET, "demo-worker"),
        (kinds.POLICY, "demo-worker-0"),
    ],
)
@pytest.mark.parametrize("labels", [{}, names.labels("demo")])
async def test_what_it_did_not_make_is_never_touched(
    bench: Bench, kind: kinds.ResourceKind, name: str, labels: dict[str, str]
) -> None:
    owners = [{"uid": "somebody-else", "kind": "HANas", "name": "demo", "controller": True}]
    stranger = bench.server.put(
        kind, NAMESPACE, name, metadata={"labels": labels, "ownerReferences": owners}, spec={"mine": True}
    )
    bench.want()
    for _ in range(2):
        await bench.reconcile()
        assert bench.server.take(kind, NAMESPACE, name) == stranger
        settle_others = kind not in {kinds.CLAIM, kinds.STATEFUL_SET}
        if settle_others:
            settle(bench.server)
    assert reasons(bench)["Degraded"] == "NameTaken"
    assert reasons(bench)["Ready"] == "NameTaken"
    assert "NameTaken" in events(bench)


async def test_the_secret_is_made_once_and_never_changed(bench: Bench) -> None:
    await bench.start()
    first = secret_of(bench.server)
    bench.want(workers=5)
    await bench.reconcile()
    assert secret_of(bench.server) == first
    assert not [
        call for call in bench.server.calls if call.resource == "secrets" and call.verb not in {"get", "create"}
    ]


async def test_the_overseer_is_asked_with_the_secret(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    assert secret_of(bench.server) in bench.overseer.cookies


async def test_the_main_is_labelled_and_the_label_follows_a_takeover(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    assert [role(bench.server, f"worker-{number}") for number in range(3)] == ["main", "backup", "backup"]
    await bench.overseer.show(view("worker-2", epoch=2, state="elect"))
    await bench.hear()
    assert role(bench.server, "worker-0") == "main", "nobody serves yet"
    await bench.overseer.show(view("worker-2", epoch=2))
    await bench.hear()
    # The label is written by the follower itself, before any reconcile.
    await until(lambda: [role(bench.server, f"worker-{number}") for number in range(3)] == ["backup", "backup", "main"])
    await until(lambda: KEY in bench.news)


async def test_a_pod_that_comes_back_is_labelled_again(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    bench.server.remove(kinds.POD, NAMESPACE, "demo-worker-0")
    settle(bench.server)
    assert role(bench.server, "worker-0") is None
    await bench.reconcile()
    assert role(bench.server, "worker-0") == "main"


async def test_takeovers_are_told_as_events_once_each(bench: Bench) -> None:
    first = TakeoverView(epoch=1, member="worker-0", why="first", words="worker-0 was the first")
    await bench.overseer.show(msgspec.structs.replace(view(), takeovers=(first,)))
    await bench.start()
    later = (
        first,
        TakeoverView(epoch=2, member="worker-1", why="failure", words="worker-0 is silent"),
        TakeoverView(epoch=3, member="worker-2", why="hand-over", words="worker-1 handed over"),
        TakeoverView(epoch=4, member="worker-2", why="compaction", words="worker-2 began a new epoch: compaction"),
    )
    await bench.overseer.show(msgspec.structs.replace(view("worker-2", epoch=4), takeovers=later))
    await bench.hear()
    await bench.reconcile()
    await bench.reconcile()
    told = {event["reason"]: event for event in bench.server.all(kinds.EVENT)}
    assert {reason: event["type"] for reason, event in told.items()} == {
        "MainElected": "Normal",
        "TakenOver": "Warning",
        "HandedOver": "Normal",
        "Compacted": "Normal",
    }
    assert told["TakenOver"]["note"] == "epoch 2: worker-1 is the main. worker-0 is silent"
    assert told["TakenOver"]["regarding"]["name"] == "demo"


async def test_a_takeover_whose_history_comes_later_is_told_then(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    assert status(bench.server)["epoch"] == 1
    assert bench.server.all(kinds.EVENT) == []
    first = TakeoverView(epoch=1, member="worker-0", why="first", words="worker-0 was the first")
    await bench.overseer.show(msgspec.structs.replace(view(), takeovers=(first,)))
    await bench.hear()
    await bench.reconcile()
    assert [event["reason"] for event in bench.server.all(kinds.EVENT)] == ["MainElected"]


async def test_a_link_failure_begins_and_heals_by_itself(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    bench.want(linkFailures=[failure(duration="30s")])
    again = await bench.reconcile()
    assert again is not None
    assert again <= 30
    policy = bench.server.take(kinds.POLICY, NAMESPACE, "demo-worker-1")["spec"]["ingress"][0]["from"][0]["podSelector"]
    assert policy["matchExpressions"][0]["values"] == ["demo-worker-0"]
    await bench.overseer.show(view(failed=("worker-1",)))
    await bench.hear()
    await bench.reconcile()
    told = status(bench.server)["linkFailures"][0]
    assert (told["state"], told["observed"], told["cut"]) == ("Active", "LinkFailed", "worker-0 <-> worker-1 (link)")
    assert condition(bench.server, "PolicyEnforced")["status"] == "True"
    assert condition(bench.server, "LinkHealthy")["status"] == "False"
    past = durations.written(datetime.now(UTC) - timedelta(seconds=31))
    bench.server.change(kinds.HANAS, *KEY, {"status": {"linkFailures": [{**told, "startedAt": past}]}})
    await bench.reconcile()
    assert status(bench.server)["linkFailures"][0]["state"] == "Healed"
    policy = bench.server.take(kinds.POLICY, NAMESPACE, "demo-worker-1")["spec"]["ingress"][0]["from"][0]["podSelector"]
    assert "matchExpressions" not in policy
    assert events(bench) == ["LinkCut", "LinkFailed", "LinkHealed"]


async def test_a_link_failure_that_is_removed_heals(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start(linkFailures=[failure()])
    bench.want()
    await bench.reconcile()
    assert status(bench.server)["linkFailures"] == []
    assert events(bench)[-1] == "LinkHealed"


async def test_scaling_down_removes_policies_and_leaves_the_rest(bench: Bench) -> None:
    await bench.overseer.show(view("worker-4", members=5))
    await bench.start(workers=5)
    assert role(bench.server, "worker-4") == "main"
    bench.want(workers=3)
    await bench.reconcile()
    settle(bench.server)
    assert {one["metadata"]["name"] for one in bench.server.all(kinds.POLICY)} == {
        *("demo-worker-0", "demo-worker-1", "demo-worker-2", "demo-overseer")
    }
    await bench.overseer.show(view("worker-1", epoch=2))
    await bench.hear()
    await bench.reconcile()
    assert role(bench.server, "worker-1") == "main"
    assert condition(bench.server, "Ready")["status"] == "True"


async def test_another_clusters_policies_are_not_pruned(bench: Bench) -> None:
    other = bench.server.put(
        kinds.POLICY,
        NAMESPACE,
        "demo-worker-9",
        metadata={"labels": names.labels("demo"), "ownerReferences": [{"uid": "another"}]},
    )
    await bench.start()
    assert bench.server.take(kinds.POLICY, NAMESPACE, "demo-worker-9") == other


async def test_a_new_image_goes_into_both_templates(bench: Bench) -> None:
    await bench.start()
    bench.want(image="hanas:2")
    await bench.reconcile()
    for kind, name in ((kinds.STATEFUL_SET, "demo-worker"), (kinds.DEPLOYMENT, "demo-overseer")):
        template = bench.server.take(kind, NAMESPACE, name)["spec"]["template"]
        assert template["spec"]["containers"][0]["image"] == "hanas:2"


async def test_a_paused_cluster_is_left_alone_but_its_main_stays_labelled(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    bench.server.change(kinds.HANAS, *KEY, {"metadata": {"annotations": {names.PAUSED: "true"}}})
    bench.server.remove(kinds.SERVICE, NAMESPACE, "demo")
    bench.server.change(kinds.HANAS, *KEY, {"spec": {"workers": 9, "linkFailures": [failure()]}})
    await bench.overseer.show(view("worker-1", epoch=2))
    await bench.hear()
    before = len(bench.server.writes())
    await bench.reconcile()
    assert {call.resource for call in bench.server.writes()[before:]} <= {"pods", "hanases/status", "events"}
    assert role(bench.server, "worker-1") == "main"
    assert reasons(bench)["Degraded"] == "Paused"
    bench.server.change(kinds.HANAS, *KEY, {"metadata": {"annotations": {names.PAUSED: None}}})
    await bench.reconcile()
    assert bench.server.find(kinds.SERVICE, NAMESPACE, "demo") is not None


@pytest.mark.parametrize(("modes", "reason"), [(None, "ClaimMissing"), (["ReadWriteOnce"], "ClaimNotShared")])
async def test_no_pods_are_begun_on_a_claim_that_cannot_be_used(
    bench: Bench, modes: list[str] | None, reason: str
) -> None:
    if modes is not None:
        bench.server.put(
            kinds.CLAIM,
            NAMESPACE,
            "shared",
            spec={"accessModes": modes},
            status={"phase": "Bound", "accessModes": modes},
        )
    bench.want(storage={"existingClaim": "shared"})
    assert await bench.reconcile() == 5.0
    assert bench.server.all(kinds.STATEFUL_SET) == bench.server.all(kinds.DEPLOYMENT) == []
    assert (reasons(bench)["StorageReady"], reasons(bench)["Ready"]) == (reason, "StorageNotReady")
    good = ["ReadWriteMany"]
    bench.server.put(
        kinds.CLAIM, NAMESPACE, "shared", spec={"accessModes": good}, status={"phase": "Bound", "accessModes": good}
    )
    await bench.reconcile()
    assert len(bench.server.all(kinds.STATEFUL_SET)) == 1
    assert len(bench.server.all(kinds.CLAIM)) == 1


async def test_pods_that_run_stay_when_the_claim_is_gone(bench: Bench) -> None:
    good = ["ReadWriteMany"]
    bench.server.put(
        kinds.CLAIM, NAMESPACE, "shared", spec={"accessModes": good}, status={"phase": "Bound", "accessModes": good}
    )
    await bench.overseer.show(view())
    await bench.start(storage={"existingClaim": "shared"})
    bench.server.remove(kinds.CLAIM, NAMESPACE, "shared")
    bench.want(storage={"existingClaim": "shared"}, workers=4)
    await bench.reconcile()
    assert bench.server.take(kinds.STATEFUL_SET, NAMESPACE, "demo-worker")["spec"]["replicas"] == 4
    assert reasons(bench)["StorageReady"] == "ClaimMissing"


async def test_an_unknown_class_is_told_by_name(bench: Bench) -> None:
    bench.want(storage={"storageClassName": "nsf"})
    await bench.reconcile()
    await bench.reconcile()
    assert reasons(bench)["StorageReady"] == "ClassUnknown"
    assert "StorageClass nsf" in condition(bench.server, "StorageReady")["message"]
    bench.server.put(kinds.STORAGE_CLASS, "", "nsf")
    claim = bench.server.take(kinds.CLAIM, NAMESPACE, "demo-data")
    bench.server.put(
        kinds.CORE_EVENT,
        NAMESPACE,
        "e1",
        involvedObject={"uid": claim["metadata"]["uid"]},
        type="Warning",
        lastTimestamp="2026-01-01T00:00:00Z",
        message="nsf cannot do ReadWriteMany",
    )
    await bench.reconcile()
    assert reasons(bench)["StorageReady"] == "ProvisioningFailed"
    assert "cannot do ReadWriteMany" in condition(bench.server, "StorageReady")["message"]


async def test_a_namespaced_operator_need_not_read_classes(bench: Bench) -> None:
    bench.server.refusals["get", "storageclasses"] = (403, "not allowed")
    bench.want(storage={"storageClassName": "nfs"})
    await bench.reconcile()
    await bench.reconcile()
    assert reasons(bench)["StorageReady"] == "ClaimPending"


async def test_a_foreign_folder_is_an_error_and_the_id_is_never_replaced(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    await bench.overseer.show(view(folder_id="ff" * 8))
    await bench.hear()
    await bench.reconcile()
    assert status(bench.server)["folderId"] == FOLDER_ID
    assert reasons(bench)["StorageReady"] == "ForeignFolder"
    assert bench.server.take(kinds.CONFIG_MAP, NAMESPACE, "demo-folder")["data"] == {"folderId": FOLDER_ID}


async def test_the_folder_id_outlives_the_status(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    bench.server.change(kinds.HANAS, *KEY, {"status": {"folderId": "", "conditions": "garbage"}})
    await bench.overseer.show(view(folder_id="ff" * 8))
    await bench.hear()
    await bench.reconcile()
    assert status(bench.server)["folderId"] == FOLDER_ID


async def test_a_deleted_cluster_takes_everything_but_its_claim(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    bench.server.remove(kinds.HANAS, *KEY)
    assert await bench.reconcile() is None
    left = {kind.plural for kind in (*kinds.APPLIED, kinds.SECRET, kinds.POD) if bench.server.all(kind)}
    assert left == {"persistentvolumeclaims"}
    bench.want()
    await bench.reconcile()
    assert len(bench.server.all(kinds.CLAIM)) == 1
    assert "NameTaken" not in reasons(bench).values(), "the claim that was kept is used again"


async def test_reclaim_delete_lets_the_claim_go_too(bench: Bench) -> None:
    await bench.start()
    bench.want(reclaim="Delete")
    await bench.reconcile()
    bench.want(reclaim="Retain")
    await bench.reconcile()
    assert not bench.server.take(kinds.CLAIM, NAMESPACE, "demo-data")["metadata"].get("ownerReferences")
    bench.want(reclaim="Delete")
    await bench.reconcile()
    bench.server.remove(kinds.HANAS, *KEY)
    assert bench.server.all(kinds.CLAIM) == []


async def test_a_cluster_that_is_being_deleted_is_not_made_again(bench: Bench) -> None:
    await bench.start()
    bench.server.change(kinds.HANAS, *KEY, {"metadata": {"deletionTimestamp": "now"}})
    before = len(bench.server.writes())
    assert await bench.reconcile() is None
    assert bench.server.writes()[before:] == []


async def test_a_spec_that_cannot_be_read_changes_nothing(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    bench.server.change(kinds.HANAS, *KEY, {"spec": {"workers": "many"}})
    before = len(bench.server.writes())
    await bench.reconcile()
    assert {call.resource for call in bench.server.writes()[before:]} == {"hanases/status", "events"}
    assert reasons(bench)["Ready"] == "InvalidSpec"
    assert "$.workers" in condition(bench.server, "Ready")["message"]
    assert condition(bench.server, "StorageReady")["status"] == "True"


async def test_an_object_that_is_refused_is_told_and_the_others_are_made(bench: Bench) -> None:
    bench.server.refusals["patch", "poddisruptionbudgets"] = (403, "exceeded quota")
    await bench.overseer.show(view())
    await bench.start()
    assert "exceeded quota" in condition(bench.server, "Degraded")["message"]
    assert len(bench.server.all(kinds.STATEFUL_SET)) == 1
    assert condition(bench.server, "Ready")["status"] == "True"


@pytest.mark.parametrize(
    ("call", "refusal"),
    [
        (("patch", "hanases/status"), (404, 'hanases.hanas.dev "demo" not found')),
        (("patch", "services"), (403, "unable to create new content in namespace x because it is being terminated")),
    ],
)
async def test_what_goes_away_meanwhile_is_no_trouble(
    bench: Bench, call: tuple[str, str], refusal: tuple[int, str]
) -> None:
    bench.want()
    bench.server.refusals[call] = refusal
    assert await bench.reconcile() is not None
    assert bench.server.all(kinds.EVENT) == []
    assert not status(bench.server)


@pytest.mark.parametrize("status_code", [403, 429, 500])
@pytest.mark.parametrize(
    "call",
    [
        ("patch", "services"),
        ("create", "secrets"),
        ("get", "secrets"),
        ("get", "services"),
        ("patch", "networkpolicies"),
        ("delete", "networkpolicies"),
    ],
)
async def test_what_cannot_be_written_is_told_and_tried_again_and_stops_nothing_else(
    bench: Bench, call: tuple[str, str], status_code: int
) -> None:
    policy = {"labels": names.labels("demo"), "ownerReferences": [{"uid": bench.want()["metadata"]["uid"]}]}
    bench.server.put(kinds.POLICY, NAMESPACE, "demo-worker-9", metadata=policy)
    bench.server.refusals[call] = (status_code, "etcd is slow")
    assert await bench.reconcile() == 5.0
    assert "etcd is slow" in condition(bench.server, "Degraded")["message"]
    assert len(bench.server.all(kinds.STATEFUL_SET)) == 1
    bench.server.refusals.clear()
    await bench.reconcile()
    assert (len(bench.server.all(kinds.SERVICE)), len(bench.server.all(kinds.POLICY))) == (4, 4)
    assert "etcd is slow" not in condition(bench.server, "Degraded")["message"]


async def test_an_api_server_that_shows_nothing_is_asked_again_later(bench: Bench) -> None:
    bench.want()
    bench.server.refusals["list", "services"] = (500, "etcd is slow")
    with pytest.raises(ApiError, match="etcd is slow"):
        await bench.reconcile()
    bench.server.refusals.clear()
    await bench.reconcile()
    assert len(bench.server.all(kinds.SERVICE)) == 4


async def test_events_and_classes_that_cannot_be_read_stop_nothing(bench: Bench) -> None:
    bench.server.refusals |= {("list", "events"): (500, "slow"), ("get", "storageclasses"): (500, "slow")}
    bench.want(storage={"storageClassName": "nfs"})
    await bench.reconcile()
    await bench.reconcile()
    assert reasons(bench)["StorageReady"] == "ClaimPending"


@pytest.mark.parametrize("spec", [{"workers": "many"}, None])
async def test_the_main_is_followed_and_labelled_whatever_else_fails(bench: Bench, spec: dict[str, str] | None) -> None:
    """A spec that cannot be read, or objects that the API server does not show; after a restart of the operator."""
    await bench.overseer.show(view())
    await bench.start()
    bench.followers.forget(KEY)
    if spec is None:
        bench.server.refusals["list", "services"] = (500, "etcd is slow")
    else:
        bench.server.change(kinds.HANAS, *KEY, {"spec": spec})
    await bench.overseer.show(view("worker-1", epoch=2))
    with contextlib.suppress(ApiError):
        await bench.reconcile()
    await until(lambda: role(bench.server, "worker-1") == "main")
    await until(lambda: role(bench.server, "worker-0") == "backup")


async def test_an_operator_that_does_not_lead_only_labels(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    bench.reconciler._leads = lambda: False
    bench.server.remove(kinds.SERVICE, NAMESPACE, "demo")
    before = len(bench.server.writes())
    await bench.overseer.show(view("worker-1", epoch=2))
    await bench.hear()
    assert await bench.reconcile() == 60.0
    assert role(bench.server, "worker-1") == "main"
    assert {call.resource for call in bench.server.writes()[before:]} == {"pods"}
    bench.server.remove(kinds.HANAS, *KEY)
    assert await bench.reconcile() is None
    assert bench.followers.keys == []


async def test_a_label_that_is_refused_is_told_and_stops_nothing_else(bench: Bench) -> None:
    bench.server.refusals["patch", "pods"] = (403, "a webhook denies it")
    await bench.overseer.show(view())
    await bench.start()
    bench.server.remove(kinds.SERVICE, NAMESPACE, "demo")
    await bench.reconcile()
    assert "the pod demo-worker-0 cannot be labelled" in condition(bench.server, "Degraded")["message"]
    assert condition(bench.server, "Ready")["reason"] == "MainUnreachable"
    assert bench.server.find(kinds.SERVICE, NAMESPACE, "demo") is not None
    bench.server.refusals.clear()
    await bench.reconcile()
    assert role(bench.server, "worker-0") == "main"


async def test_tokens_that_are_missing_are_told(bench: Bench) -> None:
    bench.want(clientTokenSecret={"name": "clients"})
    await bench.reconcile()
    assert "there is no Secret clients" in condition(bench.server, "Degraded")["message"]
    bench.server.put(kinds.SECRET, NAMESPACE, "clients", data={"other": "eA=="})
    await bench.reconcile()
    assert "has no key tokens" in condition(bench.server, "Degraded")["message"]
    bench.server.put(kinds.SECRET, NAMESPACE, "clients", data={"tokens": "eA=="})
    await bench.reconcile()
    assert "clients" not in condition(bench.server, "Degraded")["message"]


async def test_alerts_are_shown_and_do_not_make_the_status_change_every_second(bench: Bench) -> None:
    told = alert(Verdict.FOLDER_FULL, "the volume has been full for 3 s")
    await bench.overseer.show(view(alerts=(told,)))
    await bench.start()
    assert status(bench.server)["alerts"][0]["message"] == "the volume has been full for 3 s"
    await bench.reconcile()
    before = len(bench.server.writes())
    later = msgspec.structs.replace(told, message="the volume has been full for 9 s")
    await bench.overseer.show(view(alerts=(later,)))
    await bench.hear()
    await bench.reconcile()
    assert bench.server.writes()[before:] == []


async def test_without_an_image_nothing_is_started(bench: Bench) -> None:
    bench.reconciler._rollouts._image = ""  # what the command line left open
    bench.want()
    await bench.reconcile()
    assert reasons(bench)["Ready"] == "NoImage"
    assert bench.server.all(kinds.STATEFUL_SET) == []
