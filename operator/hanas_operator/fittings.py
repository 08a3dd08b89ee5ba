"""What a HANas passes on to its pods and Services: settings, variables, containers, ways from outside the cluster."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from hanas_core.members.timing import Timing
from hanas_operator.placement import KubernetesType

DRAIN = "HANAS_DRAIN_SECONDS"
SETTINGS = (
    *("HANAS_VALUE_BYTES", "HANAS_CACHE_BYTES", "HANAS_MEMORY", "HANAS_SNAPSHOT_BYTES", "HANAS_COMPACT_SHARE"),
    *("HANAS_COMPACT_BYTES", "HANAS_SEGMENT_BYTES", "HANAS_CONNECTIONS", "HANAS_IDLE_SECONDS", DRAIN),
    *("HANAS_PUBLIC", "HANAS_AUDIT", "HANAS_PATIENCE", "HANAS_HISTORY_SECONDS", "HANAS_HISTORY_BYTES"),
    *(f"HANAS_{timing.upper()}" for timing in Timing.__struct_fields__),
)
"""The settings of docs/operations.md that no other field of the spec sets."""
VARIABLE = r"^[-._a-zA-Z][-._a-zA-Z0-9]*$"
VariableName = Annotated[str, Meta(max_length=128, pattern=VARIABLE)]
Setting = int | Annotated[str, Meta(max_length=64)]
MEMBER = "{member}"
"""What stands for the member id of a worker in addresses and annotations."""
Raw = Annotated[
    dict[str, Any],
    Meta(
        extra_json_schema={
            "required": ["name"],
            "properties": {"name": {"type": "string", "description": "Its name.", "maxLength": 63}},
            "x-kubernetes-preserve-unknown-fields": True,
        }
    ),
]
"""An object of core/v1 that is passed on unread: the API server judges it in the workload."""


class KeyReference(KubernetesType, frozen=True, kw_only=True):
    """A key of a ConfigMap or of a Secret."""

    name: str
    key: str
    optional: bool | UnsetType = UNSET


class FieldReference(KubernetesType, frozen=True, kw_only=True):
    """A field of the pod."""

    field_path: str


class VariableSource(KubernetesType, frozen=True, kw_only=True):
    """Where the value comes from."""

    config_map_key_ref: KeyReference | UnsetType = UNSET
    secret_key_ref: KeyReference | UnsetType = UNSET
    field_ref: FieldReference | UnsetType = UNSET


class Variable(KubernetesType, frozen=True, kw_only=True):
    """A variable of the environment (core/v1)."""

    name: VariableName
    value: str | UnsetType = UNSET
    value_from: VariableSource | UnsetType = UNSET


class ServiceSpec(KubernetesType, frozen=True, kw_only=True):
    """How a Service is reached."""

    type: Annotated[Literal["ClusterIP", "NodePort", "LoadBalancer"], Meta(description="Type of the Service.")] = (
        "ClusterIP"
    )
    annotations: Annotated[
        dict[str, str], Meta(description="Its annotations; {member} in those of 'each' is the worker's id.")
    ] = {}  # noqa: RUF012  # msgspec copies it
    load_balancer_class: Annotated[str | UnsetType, Meta(description="Class of the load balancer.")] = UNSET
    external_traffic_policy: Annotated[
        Literal["Cluster", "Local"] | UnsetType, Meta(description="'Local': connections keep the client's address.")
    ] = UNSET


class Services(KubernetesType, frozen=True, kw_only=True):
    """The Services that clients use."""

    main: Annotated[ServiceSpec, Meta(description="NAME-main, which leads to the main.")] = ServiceSpec()
    workers: Annotated[ServiceSpec, Meta(description="NAME, which leads to any worker.")] = ServiceSpec()
    overseer: Annotated[ServiceSpec, Meta(description="NAME-overseer.")] = ServiceSpec()
    etcd: Annotated[ServiceSpec, Meta(description="NAME-etcd, which leads to any worker, with spec.etcd.")] = (
        ServiceSpec()
    )
    each: Annotated[
        ServiceSpec | UnsetType,
        Meta(description="NAME-worker-N, one for each worker, to which redirects lead; default: there are none."),
    ] = UNSET


class Address(Struct, frozen=True, rename="camel", kw_only=True):
    """An address outside the cluster."""

    service: Annotated[str, Meta(description="Name of the Service.")]
    address: Annotated[str, Meta(description="Name or address of its load balancer; empty: every node has the port.")]
    port: Annotated[int, Meta(description="Its port there.")]
