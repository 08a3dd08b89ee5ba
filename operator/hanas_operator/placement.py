"""Where pods may run: the parts of Kubernetes' pod specification that a HANas passes on unread (core/v1).

With full types the API server refuses an invalid value in the HANas, not later in the StatefulSet.
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Optional = UnsetType
Labels = Annotated[dict[str, str], Meta(description="Label names and values.")]
Weight = Annotated[int, Meta(ge=1, le=100, description="Weight of the term, 1 to 100.")]
Operator = Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
SetOperator = Literal["In", "NotIn", "Exists", "DoesNotExist"]
Unmet = Literal["DoNotSchedule", "ScheduleAnyway"]
Policy = Literal["Honor", "Ignore"]


class KubernetesType(Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """The common settings: a field without a value is not written."""


class Toleration(KubernetesType, frozen=True, kw_only=True):
    """A taint that pods tolerate."""

    key: str | Optional = UNSET
    operator: Literal["Exists", "Equal"] | Optional = UNSET
    value: str | Optional = UNSET
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | Optional = UNSET
    toleration_seconds: int | Optional = UNSET


class NodeSelectorRequirement(KubernetesType, frozen=True, kw_only=True):
    """A condition on a node's label or field."""

    key: str
    operator: Operator
    values: tuple[str, ...] | Optional = UNSET


class NodeSelectorTerm(KubernetesType, frozen=True, kw_only=True):
    """Conditions that must all hold."""

    match_expressions: tuple[NodeSelectorRequirement, ...] | Optional = UNSET
    match_fields: tuple[NodeSelectorRequirement, ...] | Optional = UNSET


class NodeSelector(KubernetesType, frozen=True, kw_only=True):
    """Terms, at least one of which must hold."""

    node_selector_terms: tuple[NodeSelectorTerm, ...]


class PreferredSchedulingTerm(KubernetesType, frozen=True, kw_only=True):
    """A term that should hold."""

    weight: Weight
    preference: NodeSelectorTerm


class NodeAffinity(KubernetesType, frozen=True, kw_only=True):
    """Requirements and preferences for nodes."""

    required_during_scheduling_ignored_during_execution: NodeSelector | Optional = UNSET
    preferred_during_scheduling_ignored_during_execution: tuple[PreferredSchedulingTerm, ...] | Optional = UNSET


class LabelSelectorRequirement(KubernetesType, frozen=True, kw_only=True):
    """A condition on a label."""

    key: str
    operator: SetOperator
    values: tuple[str, ...] | Optional = UNSET


class LabelSelector(KubernetesType, frozen=True, kw_only=True):
    """Conditions on labels that must all hold."""

    match_labels: Labels | Optional = UNSET
    match_expressions: tuple[LabelSelectorRequirement, ...] | Optional = UNSET


class PodAffinityTerm(KubernetesType, frozen=True, kw_only=True):
    """Pods to run near to, or away from."""

    label_selector: LabelSelector | Optional = UNSET
    namespace_selector: LabelSelector | Optional = UNSET
    namespaces: tuple[str, ...] | Optional = UNSET
    topology_key: str
    match_label_keys: tuple[str, ...] | Optional = UNSET
    mismatch_label_keys: tuple[str, ...] | Optional = UNSET


class WeightedPodAffinityTerm(KubernetesType, frozen=True, kw_only=True):
    """A term that should hold."""

    weight: Weight
    pod_affinity_term: PodAffinityTerm


class PodAffinity(KubernetesType, frozen=True, kw_only=True):
    """Requirements and preferences for the distance to other pods."""

    required_during_scheduling_ignored_during_execution: tuple[PodAffinityTerm, ...] | Optional = UNSET
    preferred_during_scheduling_ignored_during_execution: tuple[WeightedPodAffinityTerm, ...] | Optional = UNSET


class Affinity(KubernetesType, frozen=True, kw_only=True):
    """Preferred and required nodes and neighbours."""

    node_affinity: NodeAffinity | Optional = UNSET
    pod_affinity: PodAffinity | Optional = UNSET
    pod_anti_affinity: PodAffinity | Optional = UNSET


class TopologySpreadConstraint(KubernetesType, frozen=True, kw_only=True):
    """How evenly pods are spread. Default of ``labelSelector``: the pods of the same component of this HANas."""

    max_skew: Annotated[int, Meta(ge=1)]
    topology_key: str
    when_unsatisfiable: Unmet
    label_selector: LabelSelector | Optional = UNSET
    match_label_keys: tuple[str, ...] | Optional = UNSET
    min_domains: Annotated[int, Meta(ge=1)] | Optional = UNSET
    node_affinity_policy: Policy | Optional = UNSET
    node_taints_policy: Policy | Optional = UNSET
