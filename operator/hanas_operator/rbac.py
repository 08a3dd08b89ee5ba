"""The permissions of the operator, as data; a test compares them with every call that it makes.

`rules` apply in each namespace of the operator: as a ClusterRole for the whole cluster, else as a Role in each
namespace. `cluster_rules` concern objects without a namespace. They are optional: without them the operator reports a
pending claim instead of the unknown storage class.
"""

from typing import Any

from hanas_operator.crd import GROUP, PLURAL

Rule = dict[str, Any]


def rules() -> list[Rule]:
    """Return the rules for the namespaces."""
    read, write = ["get", "list", "watch"], ["create", "patch"]
    return [
        _rule(GROUP, [PLURAL], read),
        _rule(GROUP, [f"{PLURAL}/status"], ["patch"]),
        _rule("", ["pods"], ["list", "watch", "patch"]),  # patch: the label of the main
        _rule("", ["persistentvolumeclaims", "services", "configmaps"], [*read, *write]),
        _rule("", ["secrets"], ["get", "create"]),  # created once, never changed; and the tokens of clients
        _rule("", ["events"], ["list"]),  # the reason of a pending claim
        _rule("apps", ["deployments", "statefulsets"], [*read, *write]),
        _rule("policy", ["poddisruptionbudgets"], [*read, *write]),
        _rule("networking.k8s.io", ["networkpolicies"], [*read, *write, "delete"]),
        _rule("events.k8s.io", ["events"], ["create"]),
    ]


def cluster_rules() -> list[Rule]:
    """Return the rules for objects without a namespace."""
    return [_rule("storage.k8s.io", ["storageclasses"], ["get"])]


def lease_rules(name: str) -> list[Rule]:
    """Return the rules for the Lease of this name, in the operator's own namespace."""
    own = {**_rule("coordination.k8s.io", ["leases"], ["get", "patch"]), "resourceNames": [name]}
    return [_rule("coordination.k8s.io", ["leases"], ["create"]), own]


def _rule(group: str, resources: list[str], verbs: list[str]) -> Rule:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}
