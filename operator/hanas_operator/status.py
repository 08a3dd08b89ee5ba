"""``status`` of a HANas as types; `hanas_operator.crd` makes the schema of them."""

from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from hanas_operator.fittings import Address

UNSEEN = -1
"""The default of ``status.observedGeneration``: no operator has looked yet. Without it such a HANas counts as done."""


class StatusType(Struct, frozen=True, rename="camel", kw_only=True):
    """The msgspec settings of these types."""


T = TypeVar("T", bound=StatusType)
TIME = {"format": "date-time"}
"""What the schema says of a time."""
StartedAt = Annotated[str | UnsetType, Meta(description="When the link was cut.", extra_json_schema=TIME)]
HealsAt = Annotated[str | UnsetType, Meta(description="When it heals by itself.", extra_json_schema=TIME)]


class ConditionType(StrEnum):
    """The types of conditions."""

    READY = "Ready"
    """A main serves, and clients reach it through its Service."""
    UPDATED = "Updated"
    """Every pod runs as the spec of this generation demands."""
    DEGRADED = "Degraded"
    """Something is missing or wrong and needs attention."""
    LINK_HEALTHY = "LinkHealthy"
    """The keep-alives of the main reach every backup."""
    STORAGE_READY = "StorageReady"
    """The volume exists, and holds the folder of this cluster."""
    POLICY_ENFORCED = "PolicyEnforced"
    """The network plugin enforces NetworkPolicies, as far as link failures could show."""
    RECONCILING = "Reconciling"
    """A change is being made, or waits for something that may come by itself."""
    STALLED = "Stalled"
    """Nothing more happens until a person changes something."""
    EXPOSED = "Exposed"
    """Others than the components and their clients could read or change what is sent, or the keys."""


class Reason(StrEnum):
    """Reasons of ``Ready`` that a person must act on."""

    CLAIM_IN_USE = "ClaimInUse"
    INVALID_SPEC = "InvalidSpec"
    NAME_TAKEN = "NameTaken"
    NO_IMAGE = "NoImage"
    REJECTED = "Rejected"
    SECRET_MISSING = "SecretMissing"
    RESTORE_FAILED = "RestoreFailed"
    RESTORING = "Restoring"
    TOKENS_MISSING = "TokensMissing"
    RIGHTS_MISSING = "RightsMissing"
    KEYS_MISSING = "EncryptionKeysMissing"
    CERTIFICATES_MISSING = "CertificatesMissing"
    CERTIFICATES_UNUSABLE = "CertificatesUnusable"


ConditionStatus = Literal["True", "False", "Unknown"]
Finding = tuple[ConditionStatus, str, str]
"""Status, reason and message of a condition."""


class StatusCondition(StatusType, frozen=True, kw_only=True):
    """A condition in the format of metav1."""

    type: Annotated[str, Meta(max_length=316)]
    status: ConditionStatus
    reason: Annotated[str, Meta(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    message: Annotated[str, Meta(max_length=32768)]
    last_transition_time: Annotated[str, Meta(extra_json_schema=TIME)]
    observed_generation: Annotated[int, Meta(ge=0)] | UnsetType = UNSET


class FailureState(StrEnum):
    """The state of a link failure."""

    PENDING = "Pending"
    ACTIVE = "Active"
    HEALED = "Healed"


class FailureStatus(StatusType, frozen=True, kw_only=True):
    """The state of one entry of ``spec.linkFailures``."""

    name: Annotated[str, Meta(description="Name of the entry.")]
    state: FailureState
    cut: Annotated[str, Meta(description="The cut in one line; another cut under the same name starts a new failure.")]
    observed: Annotated[str, Meta(description="The workers' observation: LinkFailed, Healthy, NotWatched, Unknown …")]
    started_at: StartedAt = UNSET
    heals_at: HealsAt = UNSET
    message: Annotated[str | UnsetType, Meta(description="Why it waits, or has no effect.")] = UNSET


class SwitchoverState(StrEnum):
    """The state of a planned switchover."""

    PENDING = "Pending"
    DONE = "Done"
    REFUSED = "Refused"


class SwitchoverStatus(StatusType, frozen=True, kw_only=True):
    """The switchover that the annotation hanas.dev/switchover asks for."""

    to: Annotated[str, Meta(description="The worker that shall be the main.")]
    state: Annotated[SwitchoverState, Meta(description="'Pending', 'Done' or 'Refused', as the message says.")]
    message: Annotated[str, Meta(description="What was done, or what the main answered.")]


class AlertStatus(StatusType, frozen=True, kw_only=True):
    """An open alert, as the overseer reports it."""

    severity: Annotated[str, Meta(description="'notice', 'urgent' or 'critical'.")]
    kind: Annotated[str, Meta(description="What happened, such as PrimaryFailed.")]
    member: Annotated[str, Meta(description="The worker that raises it.")]
    about: Annotated[str, Meta(description="The worker that it is about.")]
    message: Annotated[str, Meta(description="What happened, in words.")]
    advice: Annotated[str, Meta(description="What to do.")]
    since: Annotated[str, Meta(description="Since when it is open.")]


class SecretStage(StrEnum):
    """How far the change of the components' secret is."""

    BOTH_ACCEPTED = "BothAccepted"
    NEW_IN_USE = "NewInUse"
    DONE = "Done"


class SecretStatus(StatusType, frozen=True, kw_only=True):
    """The Secret of the components."""

    hash: Annotated[str, Meta(description="Hash of its content; empty before the first one.")] = ""
    rotation: Annotated[str, Meta(description="The text that asked for the last rotation; empty: none did.")] = ""
    stage: Annotated[
        SecretStage,
        Meta(
            description="'BothAccepted': pods learn to accept the new secret; 'NewInUse': to use it; 'Done': no more."
        ),
    ] = SecretStage.DONE


class TlsStatus(StatusType, frozen=True, kw_only=True):
    """The certificate of the pods."""

    secret_name: Annotated[str, Meta(description="The Secret that it is in.")]
    expires_at: Annotated[str | UnsetType, Meta(description="Until when it is valid.", extra_json_schema=TIME)] = UNSET


class EtcdStatus(StatusType, frozen=True, kw_only=True):
    """Where clients in the cluster reach etcd's API."""

    service: Annotated[str, Meta(description="URL of the Service NAME-etcd, which leads to any worker.")]
    endpoints: Annotated[
        tuple[str, ...], Meta(description="URL of each worker: for clients that take several endpoints.")
    ]


class HANasStatus(StatusType, frozen=True, kw_only=True):
    """The state of the cluster as the operator observes it."""

    observed_generation: Annotated[
        int | UnsetType, Meta(description="Generation of the observed spec; -1 before the first one.")
    ] = UNSET
    main: Annotated[str, Meta(description="Member id of the main; empty before the first one.")] = ""
    epoch: Annotated[int, Meta(description="The highest epoch; 0 before the first one.")] = 0
    workers: Annotated[int, Meta(description="Number of worker pods.")] = 0
    ready_workers: Annotated[int, Meta(description="Number of ready worker pods.")] = 0
    updated_workers: Annotated[int, Meta(description="Number of worker pods with the newest template.")] = 0
    ready_overseers: Annotated[int, Meta(description="Number of ready overseer pods.")] = 0
    selector: Annotated[str, Meta(description="Label selector of the worker pods, for the scale subresource.")] = ""
    folder_id: Annotated[str, Meta(description="Id of the folder; empty until an overseer reports it.")] = ""
    claim: Annotated[str, Meta(description="Name of the claim in use.")] = ""
    claim_size: Annotated[
        Annotated[str, Meta(max_length=32)] | UnsetType,
        Meta(description="Size that the volume of the operator's claim surely has: storage.size can be no less."),
    ] = UNSET
    secret: Annotated[SecretStatus, Meta(description="The Secret of the components.")] = SecretStatus()
    tls: Annotated[TlsStatus | UnsetType, Meta(description="The certificate of the pods.")] = UNSET
    image: Annotated[str, Meta(description="Image of workers and overseers; empty before the first ones.")] = ""
    addresses: Annotated[tuple[Address, ...], Meta(description="Addresses of its Services outside the cluster.")] = ()
    etcd: Annotated[EtcdStatus | UnsetType, Meta(description="Where clients in the cluster reach etcd's API.")] = UNSET
    alerts: Annotated[tuple[AlertStatus, ...], Meta(description="The open alerts.")] = ()
    link_failures: Annotated[
        tuple[FailureStatus, ...],
        Meta(
            description="State of the link failures in the spec.",
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    switchover: Annotated[
        SwitchoverStatus | UnsetType,
        Meta(description="The switchover that the annotation hanas.dev/switchover asks for."),
    ] = UNSET
    conditions: Annotated[
        tuple[StatusCondition, ...],
        Meta(
            description="Ready, Updated, Degraded, LinkHealthy, StorageReady, PolicyEnforced, Exposed, Reconciling, "
            "Stalled.",
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = ()


def read(resource: dict[str, Any], type_: type[T]) -> T:
    """Return the status that an earlier reconcile wrote into a resource; an empty one if it is unreadable."""
    try:
        return msgspec.convert(resource.get("status") or {}, type_)
    except msgspec.ValidationError:
        return type_()
