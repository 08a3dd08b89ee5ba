"""The CEL rules by which the API server validates HANas resources, with their error messages.

The rules need Kubernetes 1.29: CEL validation is stable there, and supports quantities.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from hanas_operator.fittings import SETTINGS


class Rule(NamedTuple):
    """One rule. ``message`` says what the user must change."""

    rule: str
    message: str
    field_path: str | None = None


_MOVE = "make a new HANas and move the data with 'hanas export' and 'hanas import'"


def _constant(field: str, reason: str) -> Rule:
    """Return the rule that a field keeps its value, or stays unset."""
    rule = f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
    return Rule(rule, f"cannot be changed: {reason}", f".{field}")


OBJECT = (
    Rule(
        "self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "the name must have at most 40 lower-case letters, digits and '-', and begin with a letter: "
        "Services and pods are called after it",
    ),
    Rule(
        "!has(self.spec) || !has(oldSelf.spec) || !has(self.spec.storage) || !has(oldSelf.spec.storage) || "
        "quantity(self.spec.storage.size).compareTo(quantity(oldSelf.spec.storage.size)) >= 0 || "
        "(has(self.status) && has(self.status.claimSize) && "
        "quantity(self.spec.storage.size).compareTo(quantity(self.status.claimSize)) >= 0)",
        f"a volume can only grow (a size that the volume did not get yet can be taken back): {_MOVE}",
        ".spec.storage.size",
    ),
)
SIZE = (Rule("isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))", "must be a size such as 1Gi"),)
STORAGE = (
    Rule(
        "!(has(self.existingClaim) && has(self.storageClassName))",
        "give either storageClassName or existingClaim: an existing claim has its class already",
    ),
    _constant("existingClaim", f"the data is in that volume; {_MOVE}"),
    _constant("storageClassName", f"the data is in that volume; {_MOVE}"),
    _constant("subPath", "the data is there"),
)
DURATION = (Rule("duration(self) > duration('0s')", "must be longer than nothing, such as 30s"),)
FAILURE = (
    Rule("self.source != self.target", "source and target must be different", ".target"),
    Rule(
        "self.target != 'overseer' || ('client' in self.planes && self.direction != 'from')",
        "only calls to the overseer can be cut: planes must contain client, and direction must not be from",
        ".target",
    ),
)
LASTING = (Rule("duration(self) <= duration('24h')", "must be at most 24h: a cut ends by itself"),)
FIXED = tuple(
    _constant(field, "delete this object, and make another one")
    for field in ("hanas", "source", "target", "direction", "planes")
)
"""Of a HANasLinkFailure: everything but how long it lasts."""
TARGET = (Rule("has(self.claim) != has(self.s3)", "give either claim or s3"),)
SOURCE = (
    Rule(
        "(has(self.backup) || has(self.file) || has(self.volumeSnapshot)) && !(has(self.backup) && has(self.file)) && "
        "!(has(self.volumeSnapshot) && (has(self.backup) || has(self.file))) && has(self.target) == has(self.file)",
        "give the name of a HANasBackup, that of a VolumeSnapshot, or target and file",
    ),
)
METHOD = (
    Rule(
        "self.method == 'Archive' || !has(self.target)",
        "target is for archives: the storage driver decides where a VolumeSnapshot lies",
        ".target",
    ),
    Rule(
        "self.method == 'VolumeSnapshot' || !has(self.volumeSnapshotClassName)",
        "volumeSnapshotClassName is for the method VolumeSnapshot",
        ".volumeSnapshotClassName",
    ),
)
SERIES = (
    Rule(
        "self.method == 'Archive' || !(has(self.series) || has(self.keep))",
        "series and keep are for archives: a VolumeSnapshot is deleted with its HANasBackup",
        ".method",
    ),
)
ONCE = (Rule("self == oldSelf", "cannot be changed: a backup is made once; make another HANasBackup"),)
BACKUP_NAME = (
    Rule("self.metadata.name.size() <= 56", "the name must have at most 56 characters: its Job is called after it"),
)
SCHEDULE_NAME = (
    Rule(
        "self.metadata.name.size() <= 40", "the name must have at most 40 characters: its backups are called after it"
    ),
)
SETTING = (
    Rule(
        f"self.all(name, name.matches('^({'|'.join(SETTINGS)})$'))",
        "must be settings of docs/operations.md, such as HANAS_VALUE_BYTES, for which the spec has no field of its own",
    ),
)
VARIABLE = (
    Rule(
        "!self.name.matches('^(HANAS_.*|COMMUNICATION_FOLDER|OVERSEER_IP|PORT|LINK_PORT|LINK_URL|ADVERTISE_URL|"
        "WORKER_ID|POD_NAME|POD_INDEX)$')",
        "the operator sets this variable: use spec.settings or the field of the spec",
        ".name",
    ),
    Rule("!has(self.value) || !has(self.valueFrom)", "give value or valueFrom, not both"),
)
PEER = (
    Rule(
        "has(self.ipBlock) != (has(self.podSelector) || has(self.namespaceSelector))",
        "give podSelector, namespaceSelector or both; or ipBlock alone",
    ),
)
ETCD_PORT = (Rule("self != 3001 && self != 4001", "must be another port: workers have 3001 and 4001 already"),)
TLS = (
    Rule(
        "(self.mode == 'SecretRefs') == has(self.secretName)",
        "secretName is for the mode SecretRefs, which needs it",
        ".secretName",
    ),
    Rule(
        "(self.mode == 'CertManager') == has(self.issuerRef)",
        "issuerRef is for the mode CertManager, which needs it",
        ".issuerRef",
    ),
)
# An empty spec, {}, must pass too, before its defaults are set: hence the has().
SPEC = (
    Rule(
        "!has(self.linkFailures) || self.workers == 0 || "
        "self.linkFailures.all(f, int(f.source.substring(7)) < self.workers)",
        "source must be one of the workers: worker-0 up to one less than spec.workers",
        ".linkFailures",
    ),
    Rule(
        "!has(self.linkFailures) || self.workers == 0 || "
        "self.linkFailures.all(f, !f.target.startsWith('worker-') || int(f.target.substring(7)) < self.workers)",
        "target must be one of the workers: worker-0 up to one less than spec.workers",
        ".linkFailures",
    ),
    Rule(
        "!(has(self.storage) && has(self.storage.existingClaim) && self.reclaim == 'Delete')",
        "reclaim: Delete is for claims that the operator made; it never deletes an existing one",
        ".reclaim",
    ),
    Rule(
        "(has(self.tls) == has(oldSelf.tls) && (!has(self.tls) || self.tls == oldSelf.tls)) || "
        "self.workers == 0 || oldSelf.workers == 0",
        "pods with and without TLS, or with other authorities, refuse each other: set workers to 0, wait until the "
        "HANas is Hibernated, change it, and set workers back",
        ".tls",
    ),
    Rule(
        "!has(self.tls) || !has(self.advertiseUrl) || self.advertiseUrl.startsWith('https://')",
        "must begin with https://, since tls is set",
        ".advertiseUrl",
    ),
    Rule(
        "!has(oldSelf.encryption) || has(self.encryption)",
        "cannot be taken away: workers need the keys of what is encrypted; to end encryption put the line 'plain' in "
        "front of the keys",
        ".encryption",
    ),
)


def rendered(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """Return the rules as ``x-kubernetes-validations``."""
    entries: list[dict[str, Any]] = []
    for rule in rules:
        entry: dict[str, Any] = {"rule": rule.rule, "message": rule.message}
        if rule.field_path is not None:
            entry["fieldPath"] = rule.field_path
        entries.append(entry)
    return entries
