"""The Jobs that make an archive of a folder, and that fill a folder from one. They satisfy ``restricted``, too."""

from typing import Any

import msgspec
from msgspec import Struct

from hanas_operator import durations, kinds, names
from hanas_operator.api import Api, Resource
from hanas_operator.objects import files, pods
from hanas_operator.objects.owner import Manifest, Owner
from hanas_operator.places import ClaimTarget, S3Target, Target
from hanas_operator.plain import plain
from hanas_operator.pods import condition

_ARCHIVES = "/var/lib/hanas/archives"
_REPORT = "/dev/termination-log"
"""What a container writes there is in the status of its pod."""
_TRIES_AFTER_FAILURES = 2
_KEPT_SECONDS = 86_400
"""How long a Job that has ended stays: for its log, and for an operator that was away."""
_SEGMENT = "HANAS_SEGMENT_BYTES"


class Exported(Struct, frozen=True, rename="camel"):
    """What ``hanas export --folder`` reports."""

    keys: int
    size: int
    checksum: str
    revision: int
    folder_id: str


class Outcome(Struct, frozen=True):
    """How a Job ended. ``words``: the report, or why it failed."""

    succeeded: bool
    words: str


def backup(owner: Owner, job: str, reference: Manifest, target: Target, file: str, keep: int, timeout: str) -> Manifest:
    """Return the Job that makes the archive ``file``. ``keep``: how many of its series stay; 0: all."""
    kept = ["--keep", str(keep)] if keep else []
    command = ["hanas", "export", "--folder", pods.FOLDER, "--report", _REPORT, *kept, _path(owner, target, file)]
    return _job(owner, job, reference, target, command, timeout)


def restore(owner: Owner, job: str, reference: Manifest, target: Target, file: str, folder_id: str) -> Manifest:
    """Return the Job that fills the empty folder of ``owner``."""
    command = [
        "hanas",
        "restore",
        pods.FOLDER,
        "--report",
        _REPORT,
        "--folder-id",
        folder_id,
        _path(owner, target, file),
    ]
    return _job(owner, job, reference, target, command, "24h")


def adopt(owner: Owner, job: str, reference: Manifest) -> Manifest:
    """Return the Job that makes the folder of ``owner``, a copy of another one, a cluster of its own.

    Not every storage driver copies at one moment: what the members knew of the log tells a copy that lacks writes.
    """
    return _job(owner, job, reference, None, ["hanas", "adopt", "--check", pods.FOLDER], "24h")


def _path(owner: Owner, target: Target, file: str) -> str:
    if isinstance(target.s3, S3Target):
        prefix = f"{target.s3.prefix}/" if isinstance(target.s3.prefix, str) else ""
        return f"s3://{target.s3.bucket}/{prefix}{owner.namespace}/{file}"
    return f"{_ARCHIVES}/{file}"


def _job(
    owner: Owner, name: str, reference: Manifest, target: Target | None, command: list[str], timeout: str
) -> Manifest:
    spec = owner.spec
    labels = {names.APPLICATION: "hanas", names.MANAGED_BY: names.MANAGER, names.BACKUP_OF: name}
    folder: Manifest = {"name": "folder", "mountPath": pods.FOLDER}
    if isinstance(spec.storage.sub_path, str):
        folder["subPath"] = spec.storage.sub_path
    volumes: list[Manifest] = [
        {"name": "folder", "persistentVolumeClaim": {"claimName": owner.claim}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}},
    ]
    mounts = [folder, {"name": "tmp", "mountPath": "/tmp"}]
    for each in files.encryption(owner):
        volumes.append(each.volume)
        mounts.append(each.mount)
    if target is not None and isinstance(target.claim, ClaimTarget):
        archives: Manifest = {"name": "archives", "mountPath": _ARCHIVES}
        if isinstance(target.claim.sub_path, str):
            archives["subPath"] = target.claim.sub_path
        mounts.append(archives)
        volumes.append({"name": "archives", "persistentVolumeClaim": {"claimName": target.claim.name}})
    container = {
        "name": "hanas",
        "image": owner.image,
        "imagePullPolicy": spec.image_pull_policy,
        "command": command,
        "env": [*_environment(owner), *_credentials(target)],
        "resources": plain(spec.resources),
        "securityContext": pods.RESTRICTED,
        "terminationMessagePath": _REPORT,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }
    placement = {
        "nodeSelector": spec.node_selector,
        "tolerations": plain(spec.tolerations),
        "priorityClassName": spec.priority_class_name,
        "serviceAccountName": spec.service_account_name,
        "imagePullSecrets": plain(spec.image_pull_secrets),
    }
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "securityContext": pods.identity(owner),
        "containers": [container],
        "volumes": volumes,
        **{field: value for field, value in placement.items() if value},
    }
    return {
        "apiVersion": kinds.JOB.api_version,
        "kind": kinds.JOB.kind,
        "metadata": {"name": name, "namespace": owner.namespace, "labels": labels, "ownerReferences": [reference]},
        "spec": {
            "backoffLimit": _TRIES_AFTER_FAILURES,
            "activeDeadlineSeconds": max(1, round(durations.seconds(timeout))),
            "ttlSecondsAfterFinished": _KEPT_SECONDS,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _environment(owner: Owner) -> list[Manifest]:
    """Return the variables: whose folder it must be, if that is known, how large its segments are, and the keys."""
    variables = {name: str(value) for name, value in owner.spec.settings.items() if name == _SEGMENT}
    for each in files.encryption(owner):
        variables |= each.variables
    environment = [{"name": name, "value": value} for name, value in variables.items()]
    return [*environment, *([{"name": "HANAS_FOLDER_ID", "value": owner.folder_id}] if owner.folder_id else [])]


def _credentials(target: Target | None) -> list[Manifest]:
    """Return the variables by which the bucket is reached; only the kubelet reads the Secret."""
    if target is None or not isinstance(target.s3, S3Target):
        return []
    name, endpoint = target.s3.credentials, target.s3.endpoint
    secret = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    return [
        {"name": "AWS_REGION", "value": target.s3.region},
        *([{"name": "AWS_ENDPOINT_URL", "value": endpoint}] if isinstance(endpoint, str) else []),
        *({"name": key, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}} for key in secret),
    ]


async def outcome(api: Api, job: Resource) -> Outcome | None:
    """Return how a Job ended, None while it runs. Raises ApiError."""
    complete, failed = condition(job, "Complete"), condition(job, "Failed")
    if "True" not in {complete.get("status"), failed.get("status")}:
        return None
    namespace, name = names.metadata(job)
    words = await told(api, namespace, name)
    if failed.get("status") != "True":
        return Outcome(True, words)
    reason = "it took longer than its timeout" if failed.get("reason") == "DeadlineExceeded" else ""
    return Outcome(False, reason or words or str(failed.get("message", "")))


async def told(api: Api, namespace: str, name: str) -> str:
    """Return what the newest pod of a Job says of itself: its report, its last words, or why it does not start."""
    found = await api.list(kinds.POD, namespace, names.selected({names.BACKUP_OF: name}), cached=True)
    newest: Any = max(found, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), default={})
    for status in newest.get("status", {}).get("containerStatuses", []):
        terminated = status.get("state", {}).get("terminated") or {}
        waiting = status.get("state", {}).get("waiting") or {}
        return str(terminated.get("message") or waiting.get("message") or waiting.get("reason") or "").strip()
    conditions = newest.get("status", {}).get("conditions", [])
    return next((str(one.get("message", "")) for one in conditions if one.get("status") == "False"), "")


def last_words(text: str) -> str:
    """Return the error at the end of a log, without the progress before it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("hanas: ") for line in lines if line.startswith("hanas: ")]
    return (errors or lines or ["no words; see the log of its pod"])[-1]


def read_report(text: str) -> Exported | None:
    """Return what a Job reported, None if it is no report."""
    try:
        return msgspec.json.decode(text, type=Exported)
    except msgspec.MsgspecError:
        return None
