"""NetworkPolicies: who may connect to whom, less what link failures cut.

Policies only add up, so there is one for each pod that already has everything merged: what no rule of it admits is cut.
Only ingress is named, so the volume's traffic is never touched; and a node's own traffic, such as the kubelet's probes,
is always admitted (Kubernetes documentation, "Network Policies").
"""

from collections.abc import Iterable

from hanas_operator import names
from hanas_operator.cuts import ANYBODY, OVERSEER, Cut
from hanas_operator.objects.owner import Manifest, Owner, manifest
from hanas_operator.spec import Plane


def policies(owner: Owner, cuts: Iterable[Cut]) -> list[Manifest]:
    """Return the policies of all workers and of the overseers."""
    cuts = frozenset(cuts)
    return [*(_worker(owner, member, cuts) for member in owner.members), _overseers(owner, cuts)]


def _worker(owner: Owner, member: str, cuts: frozenset[Cut]) -> Manifest:
    pod = names.pod(owner.name, member)
    peers = {"matchLabels": names.selector(owner.name, names.WORKER), **_but(owner, _sources(cuts, member, Plane.LINK))}
    link = {"from": [{"podSelector": peers}], "ports": [_port(names.LINK_PORT)]}
    return manifest(
        owner,
        "networking.k8s.io/v1",
        "NetworkPolicy",
        pod,
        {
            "spec": {
                "podSelector": {"matchLabels": {**names.selector(owner.name, names.WORKER), names.POD_NAME: pod}},
                "policyTypes": ["Ingress"],
                "ingress": [link, *_clients(owner, _sources(cuts, member, Plane.CLIENT), names.WORKER_PORT)],
            }
        },
        component=names.WORKER,
    )


def _overseers(owner: Owner, cuts: frozenset[Cut]) -> Manifest:
    return manifest(
        owner,
        "networking.k8s.io/v1",
        "NetworkPolicy",
        names.overseer(owner.name),
        {
            "spec": {
                "podSelector": {"matchLabels": names.selector(owner.name, names.OVERSEER)},
                "policyTypes": ["Ingress"],
                "ingress": _clients(owner, _sources(cuts, OVERSEER, Plane.CLIENT), names.OVERSEER_PORT),
            }
        },
        component=names.OVERSEER,
    )


def _clients(owner: Owner, cut: list[str], port: int) -> list[Manifest]:
    """Return the rule for the HTTP interface: everybody, everybody but some workers, or nobody (no rule)."""
    if ANYBODY in cut:
        return []
    if not cut:
        return [{"ports": [_port(port)]}]
    # As long as a worker is cut off, only pods are admitted: an address block would let that worker in again.
    everybody = {"namespaceSelector": {}, "podSelector": _but(owner, cut)}
    return [{"from": [everybody], "ports": [_port(port)]}]


def _sources(cuts: frozenset[Cut], target: str, plane: Plane) -> list[str]:
    return sorted(cut.source for cut in cuts if cut.target == target and cut.plane is plane)


def _but(owner: Owner, members: list[str]) -> Manifest:
    if not members:
        return {}
    pods = [names.pod(owner.name, member) for member in members]
    return {"matchExpressions": [{"key": names.POD_NAME, "operator": "NotIn", "values": pods}]}


def _port(number: int) -> Manifest:
    return {"port": number, "protocol": "TCP"}
