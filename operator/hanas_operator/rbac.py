"""The permissions of the operator, as data; a test compares them with every call that it makes.

`rules` apply in each namespace of the operator: as a ClusterRole for the whole cluster, else as a Role in each
namespace. `cluster_rules` concern objects without a namespace. They are optional: without them the operator reports a
pending claim instead of the unknown storage class, and replaces no worker of a lost node.
"""

from typing import Any

from hanas_operator import territory
from hanas_operator.crd import BACKUPS, GROUP, LINK_FAILURES, PLURAL, SCHEDULED_BACKUPS

Rule = dict[str, Any]


def rules() -> list[Rule]:
    """Return the rules for the namespaces."""
    read, write = ["get", "list", "watch"], ["create", "patch"]
    return [
        _rule(GROUP, [PLURAL], read),
        _rule(GROUP, [LINK_FAILURES], ["list", "watch"]),
        _rule(GROUP, [f"{PLURAL}/status", f"{LINK_FAILURES}/status"], ["patch"]),
        _rule(GROUP, [BACKUPS], [*read, "create", "delete"]),  # a schedule makes them, and deletes old ones
        _rule(GROUP, [SCHEDULED_BACKUPS], read),
        _rule(GROUP, [f"{BACKUPS}/status", f"{SCHEDULED_BACKUPS}/status"], ["patch"]),
        _rule("batch", ["jobs"], ["get", "create"]),  # of backups, and of restoring
        _rule(
            "", ["pods"], ["list", "watch", "patch", "delete"]
        ),  # patch: the label of the main; delete: on a lost node
        _rule("", ["persistentvolumeclaims", "configmaps"], [*read, *write]),
        _rule("", ["services"], [*read, *write, "delete"]),
        _rule("", ["secrets"], ["get", "create", "patch"]),  # patch: renewals; get: those of spec and clients too
        _rule("cert-manager.io", ["certificates"], ["get", "create", "patch", "delete"]),  # where a cluster has them
        _rule("snapshot.storage.k8s.io", ["volumesnapshots"], ["get", "create"]),  # where a cluster has them
        _rule("", ["events"], ["list"]),  # the reason of a pending claim
        _rule("apps", ["deployments", "statefulsets"], [*read, *write]),
        _rule("policy", ["poddisruptionbudgets"], [*read, *write]),
        _rule("networking.k8s.io", ["networkpolicies"], [*read, *write, "delete"]),
        _rule("events.k8s.io", ["events"], ["create"]),
        *lease_rules(territory.NAME),
    ]


def cluster_rules() -> list[Rule]:
    """Return the rules for objects without a namespace."""
    return [*storage_class_rules(), *node_rules()]


def storage_class_rules() -> list[Rule]:
    """Return the rule by which an unknown storage class is reported by name."""
    return [_rule("storage.k8s.io", ["storageclasses"], ["get"])]


def node_rules() -> list[Rule]:
    """Return the rule by which workers of lost nodes are replaced."""
    return [_rule("", ["nodes"], ["get"])]


def lease_rules(name: str) -> list[Rule]:
    """Return the rules for the Lease of this name: in the operator's own namespace, or in those that it works in."""
    own = {**_rule("coordination.k8s.io", ["leases"], ["get", "patch"]), "resourceNames": [name]}
    return [_rule("coordination.k8s.io", ["leases"], ["create"]), own]


def _rule(group: str, resources: list[str], verbs: list[str]) -> Rule:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}
