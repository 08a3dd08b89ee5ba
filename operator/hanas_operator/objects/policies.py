"""NetworkPolicies: the permitted connections, without those that link failures cut.

Policies are additive, so each pod has one with all rules merged: a connection that no rule admits is cut. The policies
concern ingress only, so they never affect the volume's traffic. The node's own traffic, such as the kubelet's probes,
is always admitted (Kubernetes documentation, "Network Policies").
"""

from collections.abc import Iterable

from hanas_operator import kinds, names
from hanas_operator.cuts import ANYBODY, OVERSEER, LinkCut
from hanas_operator.objects.owner import Manifest, Owner, manifest
from hanas_operator.spec import Plane


def policies(owner: Owner, cuts: Iterable[LinkCut]) -> list[Manifest]:
    """Return the policies of all workers and of the overseers."""
    cuts = frozenset(cuts)
    return [*(_worker(owner, member, cuts) for member in owner.members), _overseers(owner, cuts)]


def _worker(owner: Owner, member: str, cuts: frozenset[LinkCut]) -> Manifest:
    pod, selector = names.of(owner.name, member), names.selector(owner.name, names.WORKER)
    peers = {"matchLabels": selector, **_except(owner, _sources(cuts, member, Plane.LINK))}
    link = {"from": [{"podSelector": peers}], "ports": [_port(names.LINK_PORT)]}
    clients = _clients(owner, _sources(cuts, member, Plane.CLIENT), names.WORKER_PORT)
    return _policy(owner, pod, {**selector, names.POD_NAME: pod}, [link, *clients], names.WORKER)


def _overseers(owner: Owner, cuts: frozenset[LinkCut]) -> Manifest:
    selector = names.selector(owner.name, names.OVERSEER)
    ingress = _clients(owner, _sources(cuts, OVERSEER, Plane.CLIENT), names.OVERSEER_PORT)
    return _policy(owner, names.of(owner.name, names.OVERSEER), selector, ingress, names.OVERSEER)


def _policy(owner: Owner, name: str, selector: Manifest, ingress: list[Manifest], component: str) -> Manifest:
    spec = {"podSelector": {"matchLabels": selector}, "policyTypes": ["Ingress"], "ingress": ingress}
    return manifest(owner, kinds.POLICY, name, component=component, spec=spec)


def _clients(owner: Owner, cut: list[str], port: int) -> list[Manifest]:
    """Return the rule for the HTTP interface: it admits all clients, all but some workers, or (no rule) none."""
    if ANYBODY in cut:
        return []
    if not cut:
        return [{"ports": [_port(port)]}]
    # While a worker is cut off, only pods are admitted: an address block would admit that worker again.
    others = {"namespaceSelector": {}, "podSelector": _except(owner, cut)}
    return [{"from": [others], "ports": [_port(port)]}]


def _sources(cuts: frozenset[LinkCut], target: str, plane: Plane) -> list[str]:
    return sorted(cut.source for cut in cuts if cut.target == target and cut.plane is plane)


def _except(owner: Owner, members: list[str]) -> Manifest:
    if not members:
        return {}
    pods = [names.of(owner.name, member) for member in members]
    return {"matchExpressions": [{"key": names.POD_NAME, "operator": "NotIn", "values": pods}]}


def _port(number: int) -> Manifest:
    return {"port": number, "protocol": "TCP"}
