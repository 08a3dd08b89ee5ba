"""The clients that reach a HANas: peers of a NetworkPolicy (networking.k8s.io/v1), which pass on unread."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from hanas_operator.placement import KubernetesType, LabelSelector

CIDR = r"^[0-9a-fA-F:.]+/[0-9]{1,3}$"
Cidr = Annotated[str, Meta(max_length=43, pattern=CIDR)]


class IpBlock(KubernetesType, frozen=True, kw_only=True):
    """Addresses."""

    cidr: Annotated[Cidr, Meta(description="Such as 10.0.0.0/8; 0.0.0.0/0 is everybody.")]
    excepted: Annotated[tuple[Cidr, ...], Meta(max_length=32, description="Parts of it that are not admitted.")] = (
        msgspec.field(name="except", default=())
    )


class Peer(KubernetesType, frozen=True, kw_only=True):
    """Pods, by their labels and those of their namespace; or addresses."""

    pod_selector: Annotated[
        LabelSelector | UnsetType, Meta(description="Labels of the pods; {}: all of the selected namespaces.")
    ] = UNSET
    namespace_selector: Annotated[
        LabelSelector | UnsetType, Meta(description="Labels of the namespaces; default: that of the HANas; {}: all.")
    ] = UNSET
    ip_block: Annotated[
        IpBlock | UnsetType, Meta(description="Addresses outside the cluster: of an Ingress, of a load balancer.")
    ] = UNSET
