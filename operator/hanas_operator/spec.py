"""``spec`` of a HANas as types; `hanas_operator.crd` makes the schema of them, so the two cannot differ.

Rules that need more than one field are CEL rules (`hanas_operator.rules`): the API server refuses what breaks them.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from hanas_core.members.member import IsolationPolicy
from hanas_operator import rules
from hanas_operator.placement import Affinity, KubernetesType, Toleration, TopologySpreadConstraint

MOST_WORKERS = 100
MOST_FAILURES = 64
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"
WORKER = r"^worker-(0|[1-9][0-9]{0,2})$"
PEER = r"^(worker-(0|[1-9][0-9]{0,2})|overseer|\*)$"
DURATION = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"

ObjectName = Annotated[str, Meta(min_length=1, max_length=253, pattern=SUBDOMAIN)]
Quantity = Annotated[str, Meta(pattern=QUANTITY, max_length=32)]
Amount = int | Quantity
UserId = Annotated[int, Meta(ge=1, le=2**31 - 1)]


def _checked(description: str, *conditions: rules.Rule) -> Meta:
    """Return the description of a field, with its CEL rules."""
    return Meta(description=description, extra_json_schema={"x-kubernetes-validations": rules.rendered(conditions)})


class Preset(StrEnum):
    """Timings."""

    LAN = "lan"
    CLOUD = "cloud"


class Reclaim(StrEnum):
    """What becomes of the volume."""

    RETAIN = "Retain"
    DELETE = "Delete"


class Direction(StrEnum):
    """Which way is cut."""

    BOTH = "both"
    TO = "to"
    FROM = "from"


class Plane(StrEnum):
    """What is cut."""

    LINK = "link"
    CLIENT = "client"


class SpecType(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """The common settings of the types of a HANas."""


class Storage(SpecType, frozen=True, kw_only=True):
    """The volume that is the communication folder. Its access mode is always ReadWriteMany."""

    storage_class_name: (
        Annotated[
            ObjectName, Meta(description="Class of the claim that is made; without it the cluster's default class.")
        ]
        | UnsetType
    ) = UNSET
    size: Annotated[Quantity, _checked("Size of the claim that is made; it can only grow.", *rules.SIZE)] = "1Gi"
    existing_claim: (
        Annotated[ObjectName, Meta(description="A claim that is there already, instead of one that is made.")]
        | UnsetType
    ) = UNSET
    sub_path: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=253,
                pattern=r"^[^/.][^/]*(/[^/.][^/]*)*$",
                description="A folder in the volume.",
            ),
        ]
        | UnsetType
    ) = UNSET


class ResourceRequirements(KubernetesType, frozen=True, kw_only=True):
    """What a container needs, and what it may use at most."""

    requests: dict[str, Amount] | UnsetType = UNSET
    limits: dict[str, Amount] | UnsetType = UNSET


def _worker_needs() -> ResourceRequirements:
    return ResourceRequirements(requests={"cpu": "100m", "memory": "128Mi"})


def _overseer_needs() -> ResourceRequirements:
    return ResourceRequirements(requests={"cpu": "50m", "memory": "64Mi"})


class Overseer(SpecType, frozen=True, kw_only=True):
    """The overseers. They keep no state: any number of them decides alike."""

    replicas: Annotated[int, Meta(ge=1, le=5, description="How many of them.")] = 2
    resources: Annotated[ResourceRequirements, Meta(description="What each of them needs.")] = msgspec.field(
        default_factory=_overseer_needs
    )


class LinkFailure(SpecType, frozen=True, kw_only=True):
    """A link to be cut, as a NetworkPolicy: a fault injected to see what the cluster makes of it."""

    name: Annotated[
        str, Meta(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", description="Unique here.")
    ]
    source: Annotated[str, Meta(max_length=16, pattern=WORKER, description="A worker, such as worker-0.")]
    target: Annotated[
        str,
        Meta(
            max_length=16,
            pattern=PEER,
            description="Another worker; 'overseer'; or '*', all other workers and the overseer.",
        ),
    ]
    direction: Annotated[
        Direction, Meta(description="'to': connections from source to target are cut; 'from': the other way; 'both'.")
    ] = Direction.BOTH
    duration: (
        Annotated[
            str,
            _checked("How long, such as 30s or 1m30s; without it until the entry is removed.", *rules.DURATION),
            Meta(pattern=DURATION, max_length=32),
        ]
        | UnsetType
    ) = UNSET
    planes: Annotated[
        tuple[Plane, ...],
        Meta(
            min_length=1,
            max_length=2,
            description="'link': keep-alives between workers; 'client': the HTTP interfaces of workers and overseer.",
            extra_json_schema={"x-kubernetes-list-type": "set"},
        ),
    ] = (Plane.LINK,)


class SecretKey(SpecType, frozen=True, kw_only=True):
    """A key of a Secret in the namespace of the HANas."""

    name: Annotated[ObjectName, Meta(description="Name of the Secret.")]
    key: Annotated[
        str,
        Meta(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$", description="Key in it, one token a line."),
    ] = "tokens"


class SecretName(SpecType, frozen=True, kw_only=True):
    """A Secret in the namespace of the HANas."""

    name: ObjectName


class PodIdentity(SpecType, frozen=True, kw_only=True):
    """As whom the pods use the volume. Never as root."""

    run_as_user: Annotated[UserId, Meta(description="User id of the processes.")] = 65532
    run_as_group: Annotated[UserId, Meta(description="Group id of the processes.")] = 65532
    fs_group: Annotated[UserId, Meta(description="Group that the volume is given to, where its kind can do that.")] = (
        65532
    )
    supplemental_groups: Annotated[tuple[UserId, ...], Meta(max_length=32, description="Further group ids.")] = ()


LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class HANasSpec(SpecType, frozen=True, kw_only=True):
    """A highly available key-value store: workers around one volume, watched by overseers."""

    workers: Annotated[
        int, Meta(ge=1, le=MOST_WORKERS, description="How many workers: one is the main, the others are backups.")
    ] = 3
    storage: Annotated[Storage, _checked("The volume that all workers share.", *rules.STORAGE)] = msgspec.field(
        default_factory=Storage
    )
    overseer: Annotated[Overseer, Meta(description="The overseers.")] = msgspec.field(default_factory=Overseer)
    preset: Annotated[
        Preset, Meta(description="Timings: 'lan' finds failures in half a second, 'cloud' is patient.")
    ] = Preset.LAN
    isolation_policy: Annotated[
        IsolationPolicy, Meta(description="What a main does that reaches no backup and no overseer.")
    ] = IsolationPolicy.STAY
    link_failures: Annotated[
        tuple[Annotated[LinkFailure, _checked("A link to be cut.", *rules.FAILURE)], ...],
        Meta(
            max_length=MOST_FAILURES,
            description="Links that are to be cut, to see what happens.",
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    image: (
        Annotated[
            str,
            Meta(
                min_length=1, max_length=512, description="Image of workers and overseers; else the operator's choice."
            ),
        ]
        | UnsetType
    ) = UNSET
    image_pull_policy: Annotated[Literal["Always", "IfNotPresent", "Never"], Meta(description="When to pull.")] = (
        "IfNotPresent"
    )
    image_pull_secrets: Annotated[tuple[SecretName, ...], Meta(max_length=16, description="Secrets to pull with.")] = ()
    resources: Annotated[ResourceRequirements, Meta(description="What each worker needs.")] = msgspec.field(
        default_factory=_worker_needs
    )
    reclaim: Annotated[
        Reclaim, Meta(description="Whether the claim that was made stays when the HANas goes ('Retain') or goes too.")
    ] = Reclaim.RETAIN
    client_token_secret: (
        Annotated[
            SecretKey, Meta(description="Tokens of clients; without it everybody who reaches the Services is a client.")
        ]
        | UnsetType
    ) = UNSET
    log_level: Annotated[LogLevel, Meta(description="What workers and overseers write to their logs.")] = "INFO"
    pod_security_context: Annotated[PodIdentity, Meta(description="Users and groups.")] = msgspec.field(
        default_factory=PodIdentity
    )
    pod_annotations: Annotated[dict[str, str], Meta(description="Annotations of all pods.")] = msgspec.field(
        default_factory=dict
    )
    pod_labels: Annotated[dict[str, str], Meta(description="Labels of all pods, beside the operator's own.")] = (
        msgspec.field(default_factory=dict)
    )
    priority_class_name: Annotated[ObjectName, Meta(description="Priority class of all pods.")] | UnsetType = UNSET
    node_selector: Annotated[dict[str, str], Meta(description="Labels of the nodes that pods may run on.")] = (
        msgspec.field(default_factory=dict)
    )
    tolerations: Annotated[tuple[Toleration, ...], Meta(description="Taints that pods tolerate.")] = ()
    affinity: (
        Annotated[
            Affinity,
            Meta(description="Nodes and neighbours; without it, pods of one kind keep to different nodes if they can."),
        ]
        | UnsetType
    ) = UNSET
    topology_spread_constraints: Annotated[
        tuple[TopologySpreadConstraint, ...], Meta(description="How evenly pods are spread.")
    ] = ()


def read(spec: dict[str, Any]) -> HANasSpec:
    """Return ``spec`` as types. Raises msgspec.ValidationError, with the path of what is wrong."""
    return msgspec.convert(spec, HANasSpec)
