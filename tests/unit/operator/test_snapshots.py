"""Backups by the method VolumeSnapshot, and a HANas from one, against an API server in memory."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from hanas_operator import kinds, names
from hanas_operator.backups import controller
from hanas_operator.backups.controller import Backups
from hanas_operator.queue import Key
from tests.unit.operator import schemas
from tests.unit.operator.api_server import ApiServer, Resource
from tests.unit.operator.conftest import Bench
from tests.unit.operator.making import FOLDER_ID, IMAGE, KEY, NAMESPACE, condition, view

BACKUP, RESTORE, CLAIM = "first", "demo-restore", "demo-data"
METHOD = {"method": "VolumeSnapshot"}
KEY_OF_BACKUP: Key = controller.key_of(kinds.BACKUP, NAMESPACE, BACKUP)
DEFINITION = Path(__file__).parents[2] / "e2e/volumesnapshots.yaml"
FROM = {"bootstrap": {"fromBackup": {"backup": BACKUP}}}
READY = {"readyToUse": True, "restoreSize": "1Gi"}


def hanas(server: ApiServer, **spec: Any) -> None:
    """A HANas that runs."""
    server.put(kinds.HANAS, *KEY, spec=spec, status={"image": IMAGE, "folderId": FOLDER_ID})


def wanted(server: ApiServer, **spec: Any) -> None:
    server.put(kinds.BACKUP, NAMESPACE, BACKUP, spec={"hanas": "demo", **METHOD, **spec})


def status(server: ApiServer) -> Resource:
    found: Resource = server.take(kinds.BACKUP, NAMESPACE, BACKUP).get("status", {})
    return found


def driver(server: ApiServer, **status: Any) -> None:
    """Write the status of the VolumeSnapshot, as the driver's controller would."""
    server.change(kinds.SNAPSHOT, NAMESPACE, BACKUP, {"status": status})


async def test_the_storage_driver_makes_a_snapshot_of_the_claim(bench: Bench) -> None:
    server, backups = bench.server, Backups(bench.api)
    hanas(server, storage={"subPath": "x"})
    wanted(server, volumeSnapshotClassName="fast")
    assert await backups(KEY_OF_BACKUP) == 2.0
    made = server.take(kinds.SNAPSHOT, NAMESPACE, BACKUP)
    assert made["spec"] == {"source": {"persistentVolumeClaimName": CLAIM}, "volumeSnapshotClassName": "fast"}
    (reference,) = made["metadata"]["ownerReferences"]
    assert (reference["kind"], reference["name"]) == ("HANasBackup", BACKUP)
    (version,) = (
        each
        for each in yaml.safe_load(DEFINITION.read_text(encoding="utf-8"))["spec"]["versions"]
        if each["name"] == kinds.SNAPSHOT.version
    )
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert schemas.errors(spec, made["spec"]) == []
    told = status(server)
    assert (told["phase"], told["snapshot"], told["subPath"]) == ("Running", BACKUP, "x")
    await backups(KEY_OF_BACKUP)
    assert status(server)["message"] == "no snapshot controller has looked at it yet"
    driver(server, readyToUse=False)
    await backups(KEY_OF_BACKUP)
    assert status(server)["message"] == "the storage driver makes it"
    driver(server, error={"message": "there is no default VolumeSnapshotClass"})
    assert await backups(KEY_OF_BACKUP) == 2.0
    assert status(server)["message"] == "there is no default VolumeSnapshotClass"
    driver(server, error=None, **READY)
    assert await backups(KEY_OF_BACKUP) is None
    told = status(server)
    assert (told["phase"], told["message"], told["size"]) == ("Completed", "", 1 << 30)
    assert told["folderId"] == FOLDER_ID
    assert told["startedAt"] <= told["finishedAt"]
    assert server.all(kinds.JOB) == []
    server.remove(kinds.BACKUP, NAMESPACE, BACKUP)
    assert server.all(kinds.SNAPSHOT) == [], "it belongs to its HANasBackup"


async def test_a_cluster_without_snapshots_is_told_to_make_archives(bench: Bench) -> None:
    hanas(bench.server)
    wanted(bench.server)
    for verb in ("get", "create"):
        bench.server.refusals[verb, "volumesnapshots"] = (404, "the server could not find the requested resource")
    assert await Backups(bench.api)(KEY_OF_BACKUP) is None
    assert status(bench.server)["phase"] == "Failed"
    assert "this cluster has no VolumeSnapshots" in status(bench.server)["message"]
    assert "with the method Archive" in status(bench.server)["message"]


async def test_what_a_snapshot_waits_for_and_what_ends_it(bench: Bench) -> None:
    server, backups = bench.server, Backups(bench.api)
    wanted(server, timeout="1s")
    await backups(KEY_OF_BACKUP)
    assert "there is no HANas demo" in status(server)["message"]
    server.put(kinds.HANAS, *KEY, spec={})
    assert await backups(KEY_OF_BACKUP) == 2.0
    assert "has not started yet" in status(server)["message"]
    assert server.all(kinds.SNAPSHOT) == []
    hanas(server)
    server.refusals["create", "volumesnapshots"] = (503, "a webhook is away")
    with pytest.raises(Exception, match="a webhook is away"):
        await backups(KEY_OF_BACKUP)
    del server.refusals["create", "volumesnapshots"]
    await backups(KEY_OF_BACKUP)
    made = server.take(kinds.SNAPSHOT, NAMESPACE, BACKUP)
    server.change(kinds.BACKUP, NAMESPACE, BACKUP, {"status": {"phase": "Pending", "startedAt": None}})
    driver(server, error={"message": "the volume is busy"})
    assert await backups(KEY_OF_BACKUP) is None, "an operator that ended after it made it has lost nothing"
    assert status(server)["startedAt"] == made["metadata"]["creationTimestamp"]
    assert "longer than its timeout: the volume is busy; then make" in status(server)["message"]


async def test_a_snapshot_that_is_deleted_or_of_others_is_told(bench: Bench) -> None:
    server, backups = bench.server, Backups(bench.api)
    hanas(server)
    wanted(server)
    server.put(kinds.SNAPSHOT, NAMESPACE, BACKUP, spec={})
    assert await backups(KEY_OF_BACKUP) is None
    assert "a VolumeSnapshot first is there already" in status(server)["message"]
    server.remove(kinds.SNAPSHOT, NAMESPACE, BACKUP)
    server.change(kinds.BACKUP, NAMESPACE, BACKUP, {"status": {"phase": "Running"}})
    assert await backups(KEY_OF_BACKUP) is None
    assert "somebody deleted it" in status(server)["message"]


async def test_a_schedule_of_snapshots_names_no_series(bench: Bench) -> None:
    server, name = bench.server, "nightly"
    server.put(
        kinds.SCHEDULED_BACKUP,
        NAMESPACE,
        name,
        spec={"schedule": "* * * * *", "backup": {"hanas": "demo", **METHOD}},
    )
    await Backups(bench.api)(controller.key_of(kinds.SCHEDULED_BACKUP, NAMESPACE, name))
    (made,) = server.all(kinds.BACKUP)
    assert made["spec"].items() >= METHOD.items()
    assert not made["spec"].keys() & {"series", "keep"}
    assert made["metadata"]["labels"] == {names.SCHEDULE: name}


# ---------------------------------------------------------------------- restoring


def end(server: ApiServer) -> None:
    """End the Job that restores."""
    done = {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    server.change(kinds.JOB, NAMESPACE, RESTORE, done)


async def test_the_claim_of_a_new_hanas_is_made_from_the_snapshot(bench: Bench) -> None:
    server = bench.server
    bench.want(**FROM)
    await bench.reconcile()
    assert server.find(kinds.CLAIM, NAMESPACE, CLAIM) is None, "it waits for the HANasBackup"
    wanted(server)
    await bench.reconcile()
    assert server.find(kinds.CLAIM, NAMESPACE, CLAIM) is None
    assert condition(server, "Ready")["message"] == "waits for the HANasBackup first"
    server.change(kinds.BACKUP, NAMESPACE, BACKUP, {"status": {"phase": "Completed", "snapshot": BACKUP}})
    await bench.reconcile()
    source = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": BACKUP}
    assert server.take(kinds.CLAIM, NAMESPACE, CLAIM)["spec"]["dataSource"] == source
    (container,) = server.take(kinds.JOB, NAMESPACE, RESTORE)["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["hanas", "adopt", "/var/lib/hanas/communication"]
    assert server.all(kinds.STATEFUL_SET) == []
    end(server)
    await bench.overseer.show(view())
    await bench.start(**FROM)
    assert condition(server, "Ready")["status"] == "True"
    server.remove(kinds.BACKUP, NAMESPACE, BACKUP)
    bench.want()
    await bench.reconcile()
    assert server.take(kinds.CLAIM, NAMESPACE, CLAIM)["spec"]["dataSource"] == source, "a claim keeps its source"
    assert condition(server, "Degraded")["status"] == "False"


async def test_a_snapshot_can_be_named_without_a_backup(bench: Bench) -> None:
    bench.want(bootstrap={"fromBackup": {"volumeSnapshot": "other"}}, storage={"subPath": "x"})
    await bench.reconcile()
    assert bench.server.take(kinds.CLAIM, NAMESPACE, CLAIM)["spec"]["dataSource"]["name"] == "other"
    assert bench.server.take(kinds.JOB, NAMESPACE, RESTORE)


@pytest.mark.parametrize(
    ("storage", "retained", "told"),
    [
        ({"existingClaim": "mine"}, False, "the claim mine is not made from the VolumeSnapshot first"),
        ({}, True, "the claim demo-data is not made from the VolumeSnapshot first"),
        ({"subPath": "y"}, False, "make this HANas anew with storage.subPath x"),
        ({}, False, "make this HANas anew with storage.subPath x"),
    ],
)
async def test_what_cannot_be_restored_from_a_snapshot(
    bench: Bench, storage: Resource, retained: bool, told: str
) -> None:
    server = bench.server
    wanted(server)
    done = {"phase": "Completed", "snapshot": BACKUP, "subPath": "x"}
    server.change(kinds.BACKUP, NAMESPACE, BACKUP, {"status": done})
    modes = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    server.put(kinds.CLAIM, NAMESPACE, "mine", spec=modes, status={"phase": "Bound"})
    if retained:
        server.put(kinds.CLAIM, NAMESPACE, CLAIM, metadata={"labels": names.labels("demo")}, spec=modes)
    bench.want(storage=storage, **FROM)
    await bench.reconcile()
    assert condition(server, "Ready")["reason"] == "RestoreFailed"
    assert told in condition(server, "Ready")["message"]
    assert server.all(kinds.JOB) == server.all(kinds.STATEFUL_SET) == []
