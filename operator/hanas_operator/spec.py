"""``spec`` of a HANas as types; `hanas_operator.crd` makes the schema of them, so the two cannot differ.

Rules that need more than one field are CEL rules (`hanas_operator.rules`): the API server refuses what breaks them.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from hanas_core.members.member import IsolationPolicy
from hanas_operator import rules
from hanas_operator.fittings import Raw, Services, Setting, Variable
from hanas_operator.peers import Peer
from hanas_operator.placement import Affinity, KubernetesType, LabelSelector, Toleration, TopologySpreadConstraint
from hanas_operator.places import Bootstrap, Target
from hanas_operator.texts import Key, Name, SubPath
from hanas_operator.tls.types import TlsSpec
from hanas_serving.settings import Backups

MOST_WORKERS = 100
MOST_FAILURES = 64
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"
WORKER = r"^worker-(0|[1-9][0-9]{0,2})$"
PEER = r"^(worker-(0|[1-9][0-9]{0,2})|overseer|\*)$"
DURATION = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
HOST = r"^(\*|(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)$"

Host = Annotated[str, Meta(min_length=1, max_length=253, pattern=HOST)]
Image = Annotated[str, Meta(min_length=1, max_length=512)]
Quantity = Annotated[str, Meta(pattern=QUANTITY, max_length=32)]
Amount = int | Quantity
Url = Annotated[str, Meta(max_length=512, pattern=r"^https?://[^/?#]*\{member\}[^/?#]*$")]
Duration = Annotated[str, Meta(pattern=DURATION, max_length=32)]
UserId = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Texts = dict[str, str]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
PullPolicy = Literal["Always", "IfNotPresent", "Never"]


def checked(description: str, *conditions: rules.Rule) -> Meta:
    """Return the description of a field, with its CEL rules."""
    return Meta(description=description, extra_json_schema={"x-kubernetes-validations": rules.rendered(conditions)})


class Preset(StrEnum):
    """Timings."""

    LAN = "lan"
    CLOUD = "cloud"


class Reclaim(StrEnum):
    """What happens to the volume when the HANas is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


class UpdatePolicy(StrEnum):
    """What the pods do when a new operator comes."""

    MANUAL = "Manual"
    AUTOMATIC = "Automatic"


class Assigner(StrEnum):
    """Who chooses the user and the groups of pods."""

    OPERATOR = "Operator"
    CLUSTER = "Cluster"


class Direction(StrEnum):
    """The direction that is cut."""

    BOTH = "both"
    TO = "to"
    FROM = "from"


class Plane(StrEnum):
    """The traffic that is cut."""

    LINK = "link"
    CLIENT = "client"


class SpecType(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """The common settings of the types of a HANas."""


class Storage(SpecType, frozen=True, kw_only=True):
    """The volume that is the communication folder. Its access mode is always ReadWriteMany."""

    storage_class_name: Annotated[
        Name | UnsetType, Meta(description="StorageClass of the new claim; default: the cluster's default class.")
    ] = UNSET
    size: Annotated[Quantity, checked("Size of the new claim; it can only grow.", *rules.SIZE)] = "1Gi"
    existing_claim: Annotated[
        Name | UnsetType, Meta(description="Name of an existing claim to use instead of a new one.")
    ] = UNSET
    sub_path: Annotated[SubPath | UnsetType, Meta(description="Folder in the volume.")] = UNSET


class ResourceRequirements(KubernetesType, frozen=True, kw_only=True):
    """The resources that a container requests, and their limits."""

    requests: dict[str, Amount] | UnsetType = UNSET
    limits: dict[str, Amount] | UnsetType = UNSET


class OverseerSpec(SpecType, frozen=True, kw_only=True):
    """The overseers. They keep no state, so any number of them makes the same decisions."""

    replicas: Annotated[int, Meta(ge=1, le=5, description="Number of overseers.")] = 2
    resources: Annotated[ResourceRequirements, Meta(description="Resources of each overseer.")] = ResourceRequirements(
        requests={"cpu": "50m", "memory": "64Mi"}
    )


class Cut(SpecType, frozen=True, kw_only=True):
    """The connections that a link failure cuts."""

    source: Annotated[str, Meta(max_length=16, pattern=WORKER, description="A worker, such as worker-0.")]
    target: Annotated[
        str,
        Meta(
            max_length=16,
            pattern=PEER,
            description="Another worker; 'overseer'; or '*': all other workers and the overseer.",
        ),
    ]
    direction: Annotated[
        Direction,
        Meta(description="'to' cuts connections from source to target; 'from' the other direction; 'both' cuts both."),
    ] = Direction.BOTH
    planes: Annotated[
        tuple[Plane, ...],
        Meta(
            min_length=1,
            max_length=2,
            description="'link': keep-alives between workers; 'client': the HTTP interfaces of workers and overseer.",
            extra_json_schema={"x-kubernetes-list-type": "set"},
        ),
    ] = (Plane.LINK,)


class LinkFailure(Cut, frozen=True, kw_only=True):
    """A cut link, made by a NetworkPolicy: a fault to test how the cluster reacts."""

    name: Annotated[str, Meta(min_length=1, max_length=63, pattern=LABEL, description="Unique name of the failure.")]
    duration: Annotated[
        Duration | UnsetType,
        checked("Duration, such as 30s or 1m30s; default: until the entry is removed.", *rules.DURATION),
    ] = UNSET


class SecretKey(SpecType, frozen=True, kw_only=True):
    """A key of a Secret in the namespace of the HANas."""

    name: Annotated[Name, Meta(description="Name of the Secret.")]
    key: Annotated[Key, Meta(description="Key in it, one token a line.")] = "tokens"


class RightsKey(SpecType, frozen=True, kw_only=True):
    """A key of a Secret with a file of clients."""

    name: Annotated[Name, Meta(description="Name of the Secret.")]
    key: Annotated[Key, Meta(description="Key in it, with the file.")] = "clients.yaml"


class EncryptionSpec(SpecType, frozen=True, kw_only=True):
    """Encryption of what lies in the volume."""

    secret_name: Annotated[Name, Meta(description="Name of a Secret in the namespace of the HANas.")]
    key: Annotated[Key, Meta(description="Key in it, with the file of keys (hanas encryption-key new).")] = "keys"


class EtcdSpec(SpecType, frozen=True, kw_only=True):
    """etcd's API, at all workers."""

    enabled: Annotated[bool, Meta(description="false: it is not spoken, as without this field.")] = True
    port: Annotated[
        int,
        checked("Port of the workers and of the Services where it is spoken.", *rules.ETCD_PORT),
        Meta(ge=1024, le=65_535),
    ] = 2379


class SecretName(SpecType, frozen=True, kw_only=True):
    """A Secret in the namespace of the HANas."""

    name: Name


class PodIdentity(SpecType, frozen=True, kw_only=True):
    """The user and groups of the pods' processes; never root."""

    assigned_by: Annotated[
        Assigner,
        Meta(description="'Cluster': user, group and fsGroup are left to the cluster, as OpenShift has it."),
    ] = Assigner.OPERATOR
    run_as_user: Annotated[UserId, Meta(description="User id of the processes.")] = 65532
    run_as_group: Annotated[UserId, Meta(description="Group id of the processes.")] = 65532
    fs_group: Annotated[UserId, Meta(description="Group that owns the volume, where its type allows that.")] = 65532
    supplemental_groups: Annotated[tuple[UserId, ...], Meta(max_length=32, description="Further group ids.")] = ()


class HANasSpec(SpecType, frozen=True, kw_only=True):
    """A highly available key-value store: workers that share one volume, and overseers."""

    workers: Annotated[
        int,
        Meta(
            ge=0,
            le=MOST_WORKERS,
            description="Number of workers: one is the main, the others are backups. 0: the cluster hibernates; no "
            "pod runs, and the volume keeps its data.",
        ),
    ] = 3
    storage: Annotated[Storage, checked("The volume that all workers share.", *rules.STORAGE)] = Storage()
    bootstrap: Annotated[Bootstrap | UnsetType, Meta(description="What a new HANas begins with; default: nothing.")] = (
        UNSET
    )
    backup_target: Annotated[
        Target | UnsetType, checked("Where backups go that name no target of their own.", *rules.TARGET)
    ] = UNSET
    overseer: Annotated[OverseerSpec, Meta(description="The overseers.")] = OverseerSpec()
    preset: Annotated[
        Preset, Meta(description="Timings: 'lan' detects failures in half a second; 'cloud' waits longer.")
    ] = Preset.LAN
    isolation_policy: Annotated[
        IsolationPolicy, Meta(description="What a main does that reaches no backup and no overseer.")
    ] = IsolationPolicy.STAY
    backups: Annotated[
        Backups,
        Meta(
            description="What a backup does with what clients ask: it redirects them to the main, or serves them "
            "itself. With 'serve' the Service of all workers does what that of the main does."
        ),
    ] = Backups.REDIRECT
    etcd: Annotated[
        EtcdSpec | UnsetType,
        Meta(description="etcd's v3 API (docs/etcd.md), by the Service NAME-etcd; default: it is not spoken."),
    ] = UNSET
    link_failures: Annotated[
        tuple[Annotated[LinkFailure, checked("A cut link.", *rules.FAILURE)], ...],
        Meta(
            max_length=MOST_FAILURES,
            description="Links to cut, to test how the cluster reacts.",
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    image: Annotated[
        Image | UnsetType,
        Meta(description="Image of workers and overseers; default: the operator's when they are made."),
    ] = UNSET
    update_policy: Annotated[
        UpdatePolicy,
        Meta(
            description="What pods do when a new operator comes. 'Manual': they stay until the spec changes; "
            "'Automatic': they follow its image and its templates, one HANas after the other."
        ),
    ] = UpdatePolicy.MANUAL
    image_pull_policy: Annotated[PullPolicy, Meta(description="When to pull the image.")] = "IfNotPresent"
    image_pull_secrets: Annotated[
        tuple[SecretName, ...], Meta(max_length=16, description="Secrets for pulling the image.")
    ] = ()
    resources: Annotated[ResourceRequirements, Meta(description="Resources of each worker.")] = ResourceRequirements(
        requests={"cpu": "100m", "memory": "128Mi"}
    )
    reclaim: Annotated[Reclaim, Meta(description="What happens to the operator's claim when the HANas is deleted.")] = (
        Reclaim.RETAIN
    )
    client_token_secret: Annotated[
        SecretKey | UnsetType, Meta(description="Tokens of clients; default: clients need no token.")
    ] = UNSET
    client_rights_secret: Annotated[
        RightsKey | UnsetType,
        Meta(
            description="Clients with the rights of each (docs/security.md); default: every client may do everything."
        ),
    ] = UNSET
    tls: Annotated[
        TlsSpec | UnsetType,
        checked("TLS on all ports; it can be changed while workers is 0. Default: none.", *rules.TLS),
    ] = UNSET
    encryption: Annotated[
        EncryptionSpec | UnsetType, Meta(description="Encryption of what lies in the volume; default: none.")
    ] = UNSET
    clients: Annotated[
        tuple[Annotated[Peer, checked("Pods or addresses.", *rules.PEER)], ...],
        Meta(
            max_length=32,
            description="Who reaches the HTTP interfaces, beside workers, overseers and the operator; default: all "
            "pods of this namespace. []: NetworkPolicies of your own say it, and the operator's are about links only.",
        ),
    ] = (Peer(pod_selector=LabelSelector()),)
    hosts: Annotated[
        tuple[Host, ...],
        Meta(
            max_length=32,
            description="More names under which browsers may ask, such as that of an Ingress: a.example.com, *.b.org.",
        ),
    ] = ()
    log_level: Annotated[LogLevel, Meta(description="Log level of workers and overseers.")] = "INFO"
    pod_security_context: Annotated[PodIdentity, Meta(description="User and groups of the pods.")] = PodIdentity()
    settings: Annotated[
        dict[str, Setting],
        Meta(
            max_length=64,
            description="Settings of workers and overseers by their variables in docs/operations.md.",
            extra_json_schema={"x-kubernetes-validations": rules.rendered(rules.SETTING)},
        ),
    ] = {}
    env: Annotated[
        tuple[Annotated[Variable, checked("A variable.", *rules.VARIABLE)], ...],
        Meta(
            max_length=64,
            description="More variables of the environment of workers and overseers.",
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    service_account_name: Annotated[Name | UnsetType, Meta(description="Service account of all pods.")] = UNSET
    sidecars: Annotated[
        tuple[Raw, ...], Meta(max_length=8, description="More containers of all pods (core/v1 Container).")
    ] = ()
    volumes: Annotated[
        tuple[Raw, ...], Meta(max_length=16, description="Volumes for the sidecars (core/v1 Volume).")
    ] = ()
    services: Annotated[Services, Meta(description="How the Services are reached.")] = Services()
    advertise_url: Annotated[
        Url | UnsetType,
        Meta(
            description="Where redirects lead, for clients outside the cluster: http://{member}.example.com:3001, with "
            "{member} for the worker's id; default: the name of the pod in the cluster."
        ),
    ] = UNSET
    pod_annotations: Annotated[Texts, Meta(description="Annotations of all pods.")] = {}
    pod_labels: Annotated[Texts, Meta(description="Labels of all pods, beside the operator's own.")] = {}
    priority_class_name: Annotated[Name | UnsetType, Meta(description="Priority class of all pods.")] = UNSET
    node_selector: Annotated[Texts, Meta(description="Labels of the nodes that pods may run on.")] = {}
    tolerations: Annotated[tuple[Toleration, ...], Meta(description="Taints that pods tolerate.")] = ()
    affinity: Annotated[
        Affinity | UnsetType,
        Meta(description="Affinity of all pods; default: pods of one component prefer different nodes."),
    ] = UNSET
    topology_spread_constraints: Annotated[
        tuple[TopologySpreadConstraint, ...], Meta(description="How evenly pods are spread.")
    ] = ()


def read(spec: dict[str, Any]) -> HANasSpec:
    """Return ``spec`` as types. Raises msgspec.ValidationError, with the path of the invalid field."""
    return msgspec.convert(spec, HANasSpec)
