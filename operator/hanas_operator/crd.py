"""The CustomResourceDefinitions, generated from the types with which the operator reads the resources."""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from hanas_operator import rules, schema
from hanas_operator.backups.types import BackupSpec, BackupStatus, ScheduleSpec, ScheduleStatus
from hanas_operator.link_failure import FailureCondition, LinkFailureSpec, LinkFailureStatus
from hanas_operator.spec import HANasSpec, checked
from hanas_operator.status import UNSEEN, ConditionType, HANasStatus

GROUP, VERSION, PLURAL, KIND = "hanas.dev", "v1alpha1", "hanases", "HANas"
LINK_FAILURES, LINK_FAILURE = "hanaslinkfailures", "HANasLinkFailure"
BACKUPS, BACKUP = "hanasbackups", "HANasBackup"
SCHEDULED_BACKUPS, SCHEDULED_BACKUP = "hanasscheduledbackups", "HANasScheduledBackup"
NAME = f"{PLURAL}.{GROUP}"
API_VERSION = f"{GROUP}/{VERSION}"


class _Resource(Struct, rename="camel"):
    """A highly available key-value store on a shared volume."""

    spec: Annotated[
        HANasSpec,
        Meta(
            description="The desired state.",
            extra_json_schema={"x-kubernetes-validations": rules.rendered(rules.SPEC)},
        ),
    ] = HANasSpec()
    status: Annotated[
        HANasStatus | UnsetType,
        Meta(
            description="The state that the operator last observed.",
            extra_json_schema={"default": {"observedGeneration": UNSEEN}},
        ),
    ] = UNSET


class _LinkFailure(Struct, rename="camel"):
    """A link of a HANas that is cut for a while, to test how the cluster reacts."""

    spec: Annotated[LinkFailureSpec, checked("The link, and for how long.", *rules.FAILURE, *rules.FIXED)]
    status: Annotated[LinkFailureStatus | UnsetType, Meta(description="What the operator last observed.")] = UNSET


class _Backup(Struct, rename="camel"):
    """One backup of a HANas: an archive of its keys as one revision left them."""

    spec: Annotated[BackupSpec, checked("What is backed up, and where to.", *rules.ONCE, *rules.METHOD, *rules.SERIES)]
    status: Annotated[BackupStatus | UnsetType, Meta(description="What became of it.")] = UNSET


class _ScheduledBackup(Struct, rename="camel"):
    """Backups of a HANas, again and again."""

    spec: Annotated[ScheduleSpec, Meta(description="When, and what.")]
    status: Annotated[ScheduleStatus | UnsetType, Meta(description="What became of it.")] = UNSET


def _names(plural: str, kind: str, short: str) -> dict[str, Any]:
    return {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List", "shortNames": [short]}


def definition() -> dict[str, Any]:
    """Return the CustomResourceDefinition of HANas as a plain dict."""
    names = {**_names(PLURAL, KIND, "hn"), "categories": ["all"]}
    scale = {
        "specReplicasPath": ".spec.workers",
        "statusReplicasPath": ".status.workers",
        "labelSelectorPath": ".status.selector",
    }
    columns = [
        _column("Ready", _of(ConditionType.READY, "status")),
        _column("Main", ".status.main"),
        _column("Epoch", ".status.epoch", kind="integer"),
        _column("Workers", ".status.readyWorkers", kind="integer"),
        _column("Wanted", ".spec.workers", kind="integer"),
        _column("Updated", ".status.updatedWorkers", kind="integer", priority=1),
        _column("Image", ".status.image", priority=1),
        _column("Links", _of(ConditionType.LINK_HEALTHY, "reason")),
        _column("Age", ".metadata.creationTimestamp", kind="date"),
        _column("Storage", _of(ConditionType.STORAGE_READY, "reason"), priority=1),
        _column("Reason", _of(ConditionType.READY, "reason"), priority=1),
        _column("Message", _of(ConditionType.READY, "message"), priority=1),
    ]
    return _definition(names, _Resource, {"status": {}, "scale": scale}, columns, rules.OBJECT)


def link_failures() -> dict[str, Any]:
    """Return the CustomResourceDefinition of HANasLinkFailure as a plain dict."""
    names = _names(LINK_FAILURES, LINK_FAILURE, "hnlf")
    columns = [
        _column("HANas", ".spec.hanas"),
        _column("Cut", ".status.cut"),
        _column("State", ".status.state"),
        _column("Observed", ".status.observed"),
        _column("Lost", _of(FailureCondition.LINK_LOST, "status")),
        _column("Duration", ".spec.duration"),
        _column("Heals", ".status.healsAt", priority=1),
        _column("Age", ".metadata.creationTimestamp", kind="date"),
        _column("Message", ".status.message", priority=1),
    ]
    return _definition(names, _LinkFailure, {"status": {}}, columns)


def backups() -> dict[str, Any]:
    """Return the CustomResourceDefinition of HANasBackup as a plain dict."""
    names = _names(BACKUPS, BACKUP, "hnb")
    columns = [
        _column("HANas", ".spec.hanas"),
        _column("Phase", ".status.phase"),
        _column("Keys", ".status.keys", kind="integer"),
        _column("Size", ".status.size", kind="integer"),
        _column("Revision", ".status.revision", kind="integer"),
        _column("Finished", ".status.finishedAt", kind="date"),
        _column("Method", ".spec.method", priority=1),
        _column("File", ".status.file", priority=1),
        _column("Snapshot", ".status.snapshot", priority=1),
        _column("Checksum", ".status.checksum", priority=1),
        _column("Age", ".metadata.creationTimestamp", kind="date"),
        _column("Message", ".status.message", priority=1),
    ]
    return _definition(names, _Backup, {"status": {}}, columns, rules.BACKUP_NAME)


def scheduled_backups() -> dict[str, Any]:
    """Return the CustomResourceDefinition of HANasScheduledBackup as a plain dict."""
    names = _names(SCHEDULED_BACKUPS, SCHEDULED_BACKUP, "hnsb")
    columns = [
        _column("HANas", ".spec.backup.hanas"),
        _column("Schedule", ".spec.schedule"),
        _column("Suspended", ".spec.suspend", kind="boolean"),
        _column("Last", ".status.lastScheduledAt", kind="date"),
        _column("Phase", ".status.lastPhase"),
        _column("Completed", ".status.lastCompletedAt", kind="date"),
        _column("Next", ".status.nextAt", priority=1),
        _column("Age", ".metadata.creationTimestamp", kind="date"),
        _column("Message", ".status.message", priority=1),
    ]
    return _definition(names, _ScheduledBackup, {"status": {}}, columns, rules.SCHEDULE_NAME)


def definitions() -> list[dict[str, Any]]:
    """Return all CustomResourceDefinitions."""
    return [definition(), link_failures(), backups(), scheduled_backups()]


def _definition(
    names: dict[str, Any],
    kind: type[Struct],
    subresources: dict[str, Any],
    columns: list[dict[str, Any]],
    conditions: tuple[rules.Rule, ...] = (),
) -> dict[str, Any]:
    """Return a CustomResourceDefinition. ``conditions``: rules for the object as a whole."""
    resource = schema.structural(kind)
    whole = {
        "description": resource["description"],
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            **resource["properties"],
        },
    }
    if "required" in resource:
        whole["required"] = resource["required"]
    if conditions:
        whole["x-kubernetes-validations"] = rules.rendered(conditions)
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": whole},
        "subresources": subresources,
        "additionalPrinterColumns": columns,
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names['plural']}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }


def _of(condition: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{condition}")].{field}'


def _column(name: str, path: str, *, kind: str = "string", priority: int = 0) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path}
    return column if priority == 0 else {**column, "priority": priority}
