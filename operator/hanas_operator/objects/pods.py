"""The common part of the pods of workers and overseers. They satisfy the Pod Security standard ``restricted``."""

import math
from typing import Any

from hanas_core.members.timing import PRESETS
from hanas_operator import names
from hanas_operator.fittings import DRAIN
from hanas_operator.objects import files
from hanas_operator.objects.files import Mounted
from hanas_operator.objects.owner import Manifest, Owner
from hanas_operator.placement import Affinity
from hanas_operator.plain import plain
from hanas_operator.spec import Assigner, HANasSpec, ResourceRequirements

FOLDER = "/var/lib/hanas/communication"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
"""The security context of a container."""
GRACE_SECONDS = 30
"""The least time to end. A worker hands over within a few seconds of SIGTERM; the rest is reserve."""
DRAIN_SECONDS = 5
"""How long pods serve on after SIGTERM, until nobody's proxy leads clients to them any more."""
_ENDING_SECONDS = 10
"""For what a process does beside waiting for its folder and serving on: the last answers, and closing its files."""
LOST_NODE_SECONDS = {names.OVERSEER: 10, names.WORKER: 60}
"""The time until a pod leaves a lost node (Kubernetes' default: 300 s). A cluster needs an overseer at once; a worker
waits as long as a node takes to start again."""
SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
"""Annotation: the volumes of the node that the cluster autoscaler may drop with the pod."""
_LOST = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def template(
    owner: Owner, component: str, command: str, environment: list[Manifest], ports: dict[str, int],
    resources: ResourceRequirements,
) -> Manifest:  # fmt: skip
    """Return the pod template of a component. The port ``http`` answers the probes."""
    spec, mounted = owner.spec, files.of(owner, component)
    container: Manifest = {
        "name": component,
        "image": owner.image,
        "imagePullPolicy": spec.image_pull_policy,
        "command": [command],
        "env": [*environment, *_environment(owner, mounted)],
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports.items()],
        "resources": plain(resources),
        "securityContext": RESTRICTED,
        "volumeMounts": _mounts(owner, mounted),
        # The last lines of the log of a failed pod, which the operator shows in a condition.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "startupProbe": _probe(owner, "/healthz", period=1, failures=60),
        "livenessProbe": _probe(owner, "/healthz", period=5, failures=6),
        "readinessProbe": _probe(owner, "/readyz", period=1, failures=2),
    }
    pod = {
        "automountServiceAccountToken": False,
        # Kubernetes would derive variables such as HANAS_PORT from Services; they would be read as settings.
        "enableServiceLinks": False,
        "securityContext": identity(owner),
        "terminationGracePeriodSeconds": grace_seconds(spec),
        "containers": [container, *spec.sidecars],
        "volumes": [*_volumes(owner, mounted), *spec.volumes],
        "affinity": _affinity(owner, component),
        **_placement(owner, component),
    }
    return {
        "metadata": {
            "labels": {**spec.pod_labels, **names.labels(owner.name, component)},
            "annotations": {
                SAFE_TO_EVICT: "tmp",
                **spec.pod_annotations,
                **({names.ROTATION: owner.rotation} if owner.rotation else {}),
                **({names.TLS: owner.tls_secret} if owner.tls_secret else {}),
                "kubectl.kubernetes.io/default-container": component,
            },
        },
        "spec": pod,
    }


def grace_seconds(spec: HANasSpec) -> int:
    """Return the time that a pod has to end: to hand over, though the folder is slow, and to serve on after that."""

    def setting(name: str, default: float) -> float:
        try:
            return float(spec.settings.get(name, default))
        except ValueError:  # the pod refuses it
            return default

    folder = setting("HANAS_FOLDER_TIMEOUT", PRESETS[spec.preset].folder_timeout)
    return max(GRACE_SECONDS, math.ceil(folder + setting(DRAIN, DRAIN_SECONDS) + _ENDING_SECONDS))


def _environment(owner: Owner, mounted: list[Mounted]) -> list[Manifest]:
    spec = owner.spec
    variables: dict[str, object] = {
        "COMMUNICATION_FOLDER": FOLDER,
        "HANAS_PRESET": spec.preset.value,
        "HANAS_LOG_LEVEL": spec.log_level,
    }
    for each in mounted:
        variables |= each.variables
    if spec.hosts:
        variables["HANAS_HOSTS"] = ",".join(spec.hosts)
    variables |= {DRAIN: DRAIN_SECONDS} | dict(sorted(spec.settings.items()))
    reference = {"name": names.of(owner.name, names.FOLDER), "key": "folderId", "optional": True}
    return [
        *({"name": name, "value": str(value)} for name, value in variables.items()),
        *plain(spec.env),
        {"name": "HANAS_FOLDER_ID", "valueFrom": {"configMapKeyRef": reference}},
    ]


def _mounts(owner: Owner, mounted: list[Mounted]) -> list[Manifest]:
    path = owner.spec.storage.sub_path
    own, *others = (each.mount for each in mounted)
    return [
        {"name": "folder", "mountPath": FOLDER, **({"subPath": path} if isinstance(path, str) else {})},
        own,
        {"name": "tmp", "mountPath": "/tmp"},
        *others,
    ]


def _volumes(owner: Owner, mounted: list[Mounted]) -> list[Manifest]:
    own, *others = (each.volume for each in mounted)
    return [
        {"name": "folder", "persistentVolumeClaim": {"claimName": owner.claim}},
        own,
        {"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}},
        *others,
    ]


def identity(owner: Owner) -> Manifest:
    """Return the security context of a pod."""
    identity = owner.spec.pod_security_context
    context: Manifest = {
        "runAsNonRoot": True,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if identity.assigned_by is Assigner.OPERATOR:
        ids = {"runAsUser": identity.run_as_user, "runAsGroup": identity.run_as_group, "fsGroup": identity.fs_group}
        context |= ids
    if identity.supplemental_groups:
        context["supplementalGroups"] = list(identity.supplemental_groups)
    return context


def _affinity(owner: Owner, component: str) -> Any:
    if isinstance(owner.spec.affinity, Affinity):
        return plain(owner.spec.affinity)
    term = {
        "labelSelector": {"matchLabels": names.selector(owner.name, component)},
        "topologyKey": "kubernetes.io/hostname",
    }
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


def _placement(owner: Owner, component: str) -> Manifest:
    """Return the fields that the spec sets."""
    spec, selector = owner.spec, {"matchLabels": names.selector(owner.name, component)}
    placement = {
        "nodeSelector": spec.node_selector,
        "tolerations": _tolerations(owner, component),
        "priorityClassName": spec.priority_class_name,
        "serviceAccountName": spec.service_account_name,
        "imagePullSecrets": plain(spec.image_pull_secrets),
        "topologySpreadConstraints": [
            {"labelSelector": selector, **plain(constraint)} for constraint in spec.topology_spread_constraints
        ],
    }
    return {field: value for field, value in placement.items() if value}


def _tolerations(owner: Owner, component: str) -> list[Manifest]:
    tolerations: list[Manifest] = plain(owner.spec.tolerations)
    own = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": LOST_NODE_SECONDS[component]}
        for key in _LOST
    ]
    return tolerations + [each for each in own if each["key"] not in {other.get("key") for other in tolerations}]


def _probe(owner: Owner, path: str, *, period: int, failures: int) -> Manifest:
    return {
        # The kubelet verifies no certificate, and shows none: the three pages of health are open to all.
        "httpGet": {"path": path, "port": "http", **({"scheme": "HTTPS"} if owner.tls_secret else {})},
        "periodSeconds": period,
        "timeoutSeconds": max(period, 2),
        "failureThreshold": failures,
    }
