"""Backups and schedules, one reconcile after the other, against an API server in memory; and restoring."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hanas_operator import kinds, names
from hanas_operator.api import ApiError
from hanas_operator.backups import bootstrap, controller, schedules
from hanas_operator.backups.controller import Backups
from hanas_operator.queue import Key
from hanas_operator.territory import Territory
from tests.unit.operator.api_server import ApiServer, Resource
from tests.unit.operator.conftest import Bench
from tests.unit.operator.making import FOLDER_ID, IMAGE, KEY, NAMESPACE, condition, view

TARGET = {"claim": {"name": "archives", "subPath": "shop"}}
REPORT = {"keys": 3, "size": 120, "checksum": "ab" * 16, "revision": 7, "folderId": FOLDER_ID, "removed": 1}
BACKUP, SCHEDULE = "first", "nightly"


def key(kind: Any = kinds.BACKUP, name: str = BACKUP) -> Key:
    return controller.key_of(kind, NAMESPACE, name)


def status(server: ApiServer, name: str = BACKUP, kind: Any = kinds.BACKUP) -> Resource:
    found: Resource = server.take(kind, NAMESPACE, name).get("status", {})
    return found


def job(server: ApiServer, name: str = f"{BACKUP}-backup") -> Resource:
    return server.take(kinds.JOB, NAMESPACE, name)


def command(found: Resource) -> list[str]:
    (container,) = found["spec"]["template"]["spec"]["containers"]
    words: list[str] = container["command"]
    return words


def end(server: ApiServer, name: str, message: str, *, failed: str = "") -> None:
    """End a Job as its controller would, and its pod as a kubelet would."""
    ended = (
        {"type": "Failed", "reason": failed, "message": "Job has reached the limit"} if failed else {"type": "Complete"}
    )
    server.change(kinds.JOB, NAMESPACE, name, {"status": {"conditions": [{**ended, "status": "True"}]}})
    state = {"terminated": {"message": message}}
    labels = {names.BACKUP_OF: name}
    server.put(
        kinds.POD, NAMESPACE, f"{name}-x", metadata={"labels": labels}, status={"containerStatuses": [{"state": state}]}
    )


def hanas(server: ApiServer, **spec: Any) -> None:
    """A HANas that runs."""
    server.put(kinds.HANAS, *KEY, spec=spec, status={"image": IMAGE, "folderId": FOLDER_ID})


def wanted(server: ApiServer, **spec: Any) -> Resource:
    return server.put(kinds.BACKUP, NAMESPACE, BACKUP, spec={"hanas": "demo", **spec})


async def test_a_backup_is_made_and_told(bench: Bench) -> None:
    server, backups = bench.server, Backups(bench.api)
    hanas(server, backupTarget=TARGET, storage={"subPath": "x"}, settings={"HANAS_SEGMENT_BYTES": 2097152})
    wanted(server)
    assert await backups(key()) == 2.0
    made = job(server)
    file = "demo.first-20260101000000.hanas"
    assert command(made)[:4] == ["hanas", "export", "--folder", "/var/lib/hanas/communication"]
    assert command(made)[-1] == f"/var/lib/hanas/archives/{file}"
    assert "--keep" not in command(made)
    told = status(server)
    assert (told["phase"], told["file"], told["target"]) == ("Running", file, TARGET)
    assert "finishedAt" not in told
    pod = made["spec"]["template"]["spec"]
    assert pod["containers"][0]["env"] == [
        {"name": "HANAS_SEGMENT_BYTES", "value": "2097152"},
        {"name": "HANAS_FOLDER_ID", "value": FOLDER_ID},
    ]
    paths = {mount["name"]: mount.get("subPath") for mount in pod["containers"][0]["volumeMounts"]}
    assert paths == {"folder": "x", "tmp": None, "archives": "shop"}
    assert pod["containers"][0]["image"] == IMAGE
    assert made["metadata"]["ownerReferences"][0]["kind"] == "HANasBackup"
    assert await backups(key()) == 2.0
    end(server, "first-backup", json.dumps(REPORT))
    assert await backups(key()) is None
    told = status(server)
    assert (told["phase"], told["message"], told["size"], told["revision"]) == ("Completed", "", 120, 7)
    assert (told["keys"], told["checksum"], told["folderId"]) == (3, "ab" * 16, FOLDER_ID)
    assert told["startedAt"] <= told["finishedAt"]
    server.remove(kinds.JOB, NAMESPACE, "first-backup")
    writes = len(server.writes())
    assert await backups(key()) is None, "it is made once"
    assert server.writes()[writes:] == []


async def test_the_job_of_an_encrypted_volume_has_its_keys(bench: Bench) -> None:
    hanas(bench.server, backupTarget=TARGET, encryption={"secretName": "keys", "key": "all"}, tls={"mode": "Managed"})
    wanted(bench.server)
    await Backups(bench.api)(key())
    pod = job(bench.server)["spec"]["template"]["spec"]
    variable = {"name": "HANAS_ENCRYPTION_KEY_FILE", "value": "/etc/hanas/encryption/all"}
    assert pod["containers"][0]["env"] == [variable, {"name": "HANAS_FOLDER_ID", "value": FOLDER_ID}]
    mount = {"name": "encryption", "mountPath": "/etc/hanas/encryption", "readOnly": True}
    assert mount in pod["containers"][0]["volumeMounts"]
    items = [{"key": "all", "path": "all"}]
    volume = {"name": "encryption", "secret": {"secretName": "keys", "defaultMode": 0o440, "items": items}}
    assert volume in pod["volumes"]
    assert "tls" not in str(pod), "it calls nobody of the cluster"


async def test_a_backup_to_a_bucket(bench: Bench) -> None:
    server, backups = bench.server, Backups(bench.api)
    hanas(server)
    bucket = {"bucket": "backups", "prefix": "prod", "endpoint": "http://minio:9000", "credentials": "minio"}
    wanted(server, target={"s3": bucket})
    await backups(key())
    pod = job(server)["spec"]["template"]["spec"]
    assert command(job(server))[-1] == f"s3://backups/prod/{NAMESPACE}/demo.first-20260101000000.hanas"
    assert {volume["name"] for volume in pod["volumes"]} == {"folder", "tmp"}
    env = {one["name"]: one.get("value") or one["valueFrom"]["secretKeyRef"] for one in pod["containers"][0]["env"]}
    assert env == {
        "HANAS_FOLDER_ID": FOLDER_ID,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": "http://minio:9000",
        "AWS_ACCESS_KEY_ID": {"name": "minio", "key": "AWS_ACCESS_KEY_ID"},
        "AWS_SECRET_ACCESS_KEY": {"name": "minio", "key": "AWS_SECRET_ACCESS_KEY"},
    }
    assert all(call.resource != "secrets" for call in server.calls), "the operator reads no credentials"


@pytest.mark.parametrize(
    ("message", "failed", "told"),
    [
        ("exported 3 keys\nhanas: no space left\n", "BackoffLimitExceeded", "no space left; then make another"),
        ("exported 3 keys\n", "DeadlineExceeded", "it took longer than its timeout"),
        ("", "BackoffLimitExceeded", "Job has reached the limit"),
        ("it is another program", "", "without a report, whose image is of another release"),
    ],
)
async def test_a_backup_that_fails_says_why(bench: Bench, message: str, failed: str, told: str) -> None:
    server, backups = bench.server, Backups(bench.api)
    hanas(server)
    wanted(server, target=TARGET, series="nightly", keep=3, timeout="90s")
    await backups(key())
    assert command(job(server))[5:-1] == ["/dev/termination-log", "--keep", "3"]
    assert command(job(server))[-1].endswith("/demo.nightly-20260101000000.hanas")
    assert job(server)["spec"]["activeDeadlineSeconds"] == 90
    end(server, "first-backup", message, failed=failed)
    assert await backups(key()) is None
    assert status(server)["phase"] == "Failed"
    assert told in status(server)["message"]


async def test_what_a_backup_waits_for(bench: Bench) -> None:
    server, backups = bench.server, Backups(bench.api)
    wanted(server)
    steps: list[tuple[str, Any]] = [
        ("there is no HANas demo", lambda: server.put(kinds.HANAS, *KEY, spec={"workers": "many"})),
        ("the spec of the HANas demo cannot be used", lambda: server.put(kinds.HANAS, *KEY, spec={})),
        ("set its backupTarget", lambda: server.put(kinds.HANAS, *KEY, spec={"backupTarget": TARGET})),
        ("has not started yet", lambda: hanas(server, backupTarget=TARGET)),
    ]
    for words, then in steps:
        assert await backups(key()) == 2.0
        assert status(server)["phase"] == "Pending"
        assert words in status(server)["message"]
        then()
    await backups(key())
    waiting = {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}
    labels = {names.BACKUP_OF: "first-backup"}
    server.put(kinds.POD, NAMESPACE, "p", metadata={"labels": labels}, status=waiting)
    await backups(key())
    assert status(server)["message"] == "ImagePullBackOff"
    unscheduled = {"conditions": [{"type": "PodScheduled", "status": "False", "message": "no claim archives"}]}
    server.put(kinds.POD, NAMESPACE, "p", metadata={"labels": labels}, status=unscheduled)
    await backups(key())
    assert status(server)["message"] == "no claim archives"
    server.remove(kinds.JOB, NAMESPACE, "first-backup")
    await backups(key())
    assert "its Job is gone" in status(server)["message"]


async def test_an_operator_that_ends_after_it_made_the_job_is_no_loss(bench: Bench) -> None:
    server, backups = bench.server, Backups(bench.api)
    hanas(server, backupTarget=TARGET)
    wanted(server)
    server.refusals["create", "jobs"] = (500, "etcd is away")
    with pytest.raises(ApiError):
        await backups(key())
    told = status(server)
    assert (told["phase"], told["target"]) == ("Pending", TARGET)
    del server.refusals["create", "jobs"]
    server.put(kinds.JOB, NAMESPACE, "first-backup", spec={})
    end(server, "first-backup", json.dumps(REPORT))
    assert await backups(key()) is None
    told = status(server)
    assert (told["phase"], told["file"]) == ("Completed", "demo.first-20260101000000.hanas")
    assert told["startedAt"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("spec", [{"hanas": "demo", "timeout": 3}, None])
async def test_a_backup_that_cannot_be_made_says_so(bench: Bench, spec: Resource | None) -> None:
    server, backups = bench.server, Backups(bench.api)
    hanas(server, backupTarget=TARGET)
    if spec is None:
        wanted(server)
        server.refusals["create", "jobs"] = (403, "quota exceeded")
    else:
        server.put(kinds.BACKUP, NAMESPACE, BACKUP, spec=spec)
    assert await backups(key()) is None
    assert status(server)["phase"] == "Failed"
    assert "quota exceeded" in status(server)["message"] or "the spec cannot be used" in status(server)["message"]


async def test_only_the_leader_of_the_namespace_makes_backups(bench: Bench) -> None:
    hanas(bench.server, backupTarget=TARGET)
    wanted(bench.server)
    leads = False
    backups = Backups(bench.api, lambda: leads)
    assert await backups(key()) == 60.0
    assert backups.keys == {key()}
    leads = True
    other = Territory(bench.api, "other")
    assert await other.other(NAMESPACE) == ""
    assert await Backups(bench.api, territory=Territory(bench.api, "own"))(key()) == 5.0
    assert bench.server.all(kinds.JOB) == []
    assert await backups(key()) == 2.0
    bench.server.remove(kinds.BACKUP, NAMESPACE, BACKUP)
    assert await backups(key()) is None
    assert backups.keys == set()


# ---------------------------------------------------------------------- schedules


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> "Clock":
    clock = Clock()
    monkeypatch.setattr(schedules, "datetime", clock)
    return clock


class Clock:
    """In the place of `datetime`, as far as schedules use it."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC)

    def now(self, zone: Any) -> datetime:
        return self.time.astimezone(zone)

    def fromisoformat(self, text: str) -> datetime:
        return datetime.fromisoformat(text)


def planned(server: ApiServer, schedule: str = "0 3 * * *", **more: Any) -> None:
    before = server.find(kinds.SCHEDULED_BACKUP, NAMESPACE, SCHEDULE) or {}
    spec = {"schedule": schedule, "backup": {"hanas": "demo", "target": TARGET}, **more}
    server.put(kinds.SCHEDULED_BACKUP, NAMESPACE, SCHEDULE, spec=spec, status=before.get("status", {}))


def backups_made(server: ApiServer) -> list[str]:
    return sorted(one["metadata"]["name"] for one in server.all(kinds.BACKUP))


def finish(server: ApiServer, name: str, phase: str = "Completed") -> None:
    done = {"phase": phase, "finishedAt": "2026-01-01T03:01:00Z", "target": TARGET}
    server.change(kinds.BACKUP, NAMESPACE, name, {"status": done})


async def test_backups_are_made_when_they_are_due(bench: Bench, clock: Clock) -> None:
    server, backups, plan = bench.server, Backups(bench.api), key(kinds.SCHEDULED_BACKUP, SCHEDULE)
    planned(server)
    assert await backups(plan) == 300.0
    told = status(server, SCHEDULE, kinds.SCHEDULED_BACKUP)
    assert told["nextAt"] == "2026-01-01T03:00:00Z"
    assert "lastScheduledAt" not in told
    assert backups_made(server) == []
    clock.time = datetime(2026, 1, 1, 2, 59, 50, tzinfo=UTC)
    assert await backups(plan) == 10.0
    clock.time = datetime(2026, 1, 1, 3, 0, 0, 1000, tzinfo=UTC)
    assert await backups(plan) == 2.0
    assert backups_made(server) == ["nightly-202601010300"]
    made = server.take(kinds.BACKUP, NAMESPACE, "nightly-202601010300")
    assert made["spec"].items() >= {"hanas": "demo", "target": TARGET, "series": SCHEDULE, "keep": 7}.items()
    assert await backups(plan) == 2.0
    assert len(backups_made(server)) == 1
    finish(server, "nightly-202601010300")
    assert await backups(plan) == 300.0
    told = status(server, SCHEDULE, kinds.SCHEDULED_BACKUP)
    assert told["lastScheduledAt"] == "2026-01-01T03:00:00Z"
    assert (told["lastBackup"], told["lastPhase"]) == ("nightly-202601010300", "Completed")
    assert told["lastCompletedAt"] == "2026-01-01T03:01:00Z"
    assert told["nextAt"] == "2026-01-02T03:00:00Z"


async def test_of_those_that_were_missed_only_the_latest_is_made(bench: Bench, clock: Clock) -> None:
    server, backups, plan = bench.server, Backups(bench.api), key(kinds.SCHEDULED_BACKUP, SCHEDULE)
    planned(server)
    clock.time = datetime(2026, 1, 9, 12, tzinfo=UTC)
    await backups(plan)
    assert backups_made(server) == ["nightly-202601090300"]
    clock.time += timedelta(days=1)
    assert await backups(plan) == 2.0, "the one before has not ended"
    assert len(backups_made(server)) == 1
    assert "waits for the one before" in status(server, SCHEDULE, kinds.SCHEDULED_BACKUP)["message"]
    finish(server, "nightly-202601090300", "Failed")
    await backups(plan)
    assert backups_made(server) == ["nightly-202601090300", "nightly-202601100300"]


async def test_the_latest_completed_ones_are_kept(bench: Bench, clock: Clock) -> None:
    server, backups, plan = bench.server, Backups(bench.api), key(kinds.SCHEDULED_BACKUP, SCHEDULE)
    planned(server, keep=2)
    phases = itertools.cycle(["Completed", "Failed"])
    for day in range(1, 8):
        clock.time = datetime(2026, 1, day, 4, tzinfo=UTC)
        await backups(plan)
        finish(server, f"nightly-2026010{day}0300", next(phases))
        await backups(plan)
    assert backups_made(server) == ["nightly-202601050300", "nightly-202601060300", "nightly-202601070300"]
    assert all(call.resource != "jobs" for call in server.writes())


async def test_a_time_zone_and_a_schedule_that_is_suspended(bench: Bench, clock: Clock) -> None:
    server, backups, plan = bench.server, Backups(bench.api), key(kinds.SCHEDULED_BACKUP, SCHEDULE)
    planned(server, timeZone="Europe/Berlin", suspend=True)
    clock.time = datetime(2026, 1, 1, 2, 30, tzinfo=UTC)
    assert await backups(plan) is None
    assert backups_made(server) == []
    assert "nextAt" not in status(server, SCHEDULE, kinds.SCHEDULED_BACKUP)
    planned(server, timeZone="Europe/Berlin")
    await backups(plan)
    assert backups_made(server) == ["nightly-202601010200"], "named after the time in UTC"


async def test_a_backup_that_somebody_made_first_is_no_error(bench: Bench, clock: Clock) -> None:
    server, backups, plan = bench.server, Backups(bench.api), key(kinds.SCHEDULED_BACKUP, SCHEDULE)
    planned(server)
    server.put(kinds.BACKUP, NAMESPACE, "nightly-202601010300", spec={"hanas": "demo"})
    clock.time = datetime(2026, 1, 1, 4, tzinfo=UTC)
    assert await backups(plan) == 2.0


@pytest.mark.parametrize(
    ("schedule", "more", "told"),
    [
        ("every day", {}, "schedule is none"),
        ("0 3 * * *", {"timeZone": "Berlin/Mitte"}, "timeZone is none"),
        ("0 3 * * *", {"timeZone": "../etc"}, "timeZone is none"),
        ("0 3 * * *", {"keep": "all"}, "the spec cannot be used"),
    ],
)
async def test_a_schedule_that_is_none_says_so(bench: Bench, schedule: str, more: Resource, told: str) -> None:
    planned(bench.server, schedule, **more)
    assert await Backups(bench.api)(key(kinds.SCHEDULED_BACKUP, SCHEDULE)) is None
    assert told in status(bench.server, SCHEDULE, kinds.SCHEDULED_BACKUP)["message"]


# ---------------------------------------------------------------------- restoring

RESTORE = "demo-restore"
FROM = {"bootstrap": {"fromBackup": {"target": TARGET, "file": "demo.x-20260101000000.hanas"}}}


async def test_a_new_hanas_is_restored_before_its_first_worker_starts(bench: Bench) -> None:
    server = bench.server
    bench.want(**FROM)
    assert await bench.reconcile() == 5.0
    uid = server.take(kinds.HANAS, *KEY)["metadata"]["uid"]
    words = command(job(server, RESTORE))
    assert words[:3] == ["hanas", "restore", "/var/lib/hanas/communication"]
    archive = "/var/lib/hanas/archives/demo.x-20260101000000.hanas"
    assert words[-3:] == ["--folder-id", bootstrap.folder_id(uid), archive]
    assert server.all(kinds.STATEFUL_SET) == server.all(kinds.DEPLOYMENT) == []
    assert condition(server, "Ready")["reason"] == "Restoring"
    assert condition(server, "Updated")["reason"] == "Restoring"
    await bench.reconcile()
    assert server.all(kinds.STATEFUL_SET) == []
    end(server, RESTORE, "{}")
    await bench.overseer.show(view())
    await bench.start(**FROM)
    assert condition(server, "Ready")["status"] == "True"
    server.remove(kinds.JOB, NAMESPACE, RESTORE)
    await bench.reconcile()
    assert server.all(kinds.JOB) == [], "it is never restored again"


async def test_a_restore_that_fails_keeps_the_workers_from_starting(bench: Bench) -> None:
    server = bench.server
    bench.want(**FROM)
    await bench.reconcile()
    end(server, RESTORE, "restored 3 keys\nhanas: the archive is damaged\n", failed="BackoffLimitExceeded")
    await bench.reconcile()
    assert condition(server, "Ready")["reason"] == "RestoreFailed"
    message = condition(server, "Ready")["message"]
    assert "no worker starts: the archive is damaged; then delete the Job demo-restore" in message
    assert server.all(kinds.STATEFUL_SET) == []
    server.remove(kinds.JOB, NAMESPACE, RESTORE)
    await bench.reconcile()
    assert condition(server, "Ready")["reason"] == "Restoring", "it is tried again"
    server.remove(kinds.JOB, NAMESPACE, RESTORE)
    server.refusals["create", "jobs"] = (403, "quota exceeded")
    await bench.reconcile()
    assert "the Job demo-restore was refused: quota exceeded" in condition(server, "Ready")["message"]


async def test_a_hanas_waits_for_the_backup_that_it_names(bench: Bench) -> None:
    server = bench.server
    bench.want(bootstrap={"fromBackup": {"backup": BACKUP}})
    await bench.reconcile()
    assert "there is no HANasBackup first in this namespace" in condition(server, "Ready")["message"]
    wanted(server)
    await bench.reconcile()
    assert condition(server, "Ready")["message"] == "waits for the HANasBackup first"
    server.change(kinds.BACKUP, NAMESPACE, BACKUP, {"status": {"phase": "Failed"}})
    await bench.reconcile()
    assert condition(server, "Ready")["reason"] == "RestoreFailed"
    done = {"phase": "Completed", "target": TARGET, "file": "demo.first-20260101000000.hanas"}
    server.change(kinds.BACKUP, NAMESPACE, BACKUP, {"status": done})
    await bench.reconcile()
    assert command(job(server, RESTORE))[-1].endswith("/demo.first-20260101000000.hanas")


async def test_the_job_of_a_former_hanas_is_not_taken_for_its_own(bench: Bench) -> None:
    bench.server.put(kinds.JOB, NAMESPACE, RESTORE, metadata={"ownerReferences": [{"uid": "other"}]})
    bench.want(**FROM)
    await bench.reconcile()
    assert "a Job demo-restore of another HANas is still there" in condition(bench.server, "Ready")["message"]


async def test_a_hanas_that_runs_is_not_restored(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    bench.want(**FROM)
    await bench.reconcile()
    assert bench.server.all(kinds.JOB) == []
    assert condition(bench.server, "Ready")["status"] == "True"
