"""What the operator may do, as data; a test compares it with every call that the operator makes.

The rules of `rules` are for every namespace that it works in: a ClusterRole for the whole cluster, a Role in each
namespace otherwise. Those of `cluster_rules` concern what has no namespace. They are optional: without them an unknown
storage class is told by the claim that stays pending, not by its name.
"""

from typing import Any

from hanas_operator.crd import GROUP, PLURAL

Rule = dict[str, Any]


def rules() -> list[Rule]:
    """Return the rules for the namespaces."""
    see, make = ["get", "list", "watch"], ["create", "patch"]
    return [
        _rule(GROUP, [PLURAL], see),
        _rule(GROUP, [f"{PLURAL}/status"], ["patch"]),
        _rule("", ["pods"], ["list", "watch", "patch"]),  # patch: the label of the main
        _rule("", ["persistentvolumeclaims", "services", "configmaps"], [*see, *make]),
        _rule("", ["secrets"], ["get", "create"]),  # made once, never changed; and the clients' tokens
        _rule("", ["events"], ["list"]),  # why a claim is pending
        _rule("apps", ["deployments", "statefulsets"], [*see, *make]),
        _rule("policy", ["poddisruptionbudgets"], [*see, *make]),
        _rule("networking.k8s.io", ["networkpolicies"], [*see, *make, "delete"]),
        _rule("events.k8s.io", ["events"], ["create"]),
    ]


def cluster_rules() -> list[Rule]:
    """Return the rules for what has no namespace."""
    return [_rule("storage.k8s.io", ["storageclasses"], ["get"])]


def outside_rules() -> list[Rule]:
    """Return what an operator needs beside that when it runs outside the cluster, on a person's own account."""
    return [_rule("", ["services/proxy", "pods/proxy"], ["get"])]


def _rule(group: str, resources: list[str], verbs: list[str]) -> Rule:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}
