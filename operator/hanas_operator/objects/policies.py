"""NetworkPolicies: the permitted connections, without those that link failures cut.

Policies are additive, so each pod has one with all rules merged: a connection that no rule admits is cut. The policies
concern ingress only, so they never affect the volume's traffic. They admit keep-alives between workers, and to the HTTP
interfaces the components, the operator and ``spec.clients``. The node's own traffic, such as the kubelet's probes,
is always admitted (Kubernetes documentation, "Network Policies").
"""

from collections.abc import Iterable

from hanas_operator import kinds, names
from hanas_operator.cuts import ANYBODY, OVERSEER, LinkCut
from hanas_operator.objects.owner import Manifest, Owner, manifest
from hanas_operator.plain import plain
from hanas_operator.spec import Plane


def policies(owner: Owner, cuts: Iterable[LinkCut]) -> list[Manifest]:
    """Return the policies of all workers and of the overseers."""
    cuts = frozenset(cuts)
    return [*(_worker(owner, member, cuts) for member in owner.members), _overseers(owner, cuts)]


def _worker(owner: Owner, member: str, cuts: frozenset[LinkCut]) -> Manifest:
    pod, selector = names.of(owner.name, member), names.selector(owner.name, names.WORKER)
    peers = {"matchLabels": selector, **_except(owner, _sources(cuts, member, Plane.LINK))}
    link = {"from": [{"podSelector": peers}], "ports": [_port(names.LINK_PORT)]}
    ports = [names.WORKER_PORT, *([] if owner.etcd_port is None else [owner.etcd_port])]
    clients = _clients(owner, _sources(cuts, member, Plane.CLIENT), *ports)
    return _policy(owner, pod, {**selector, names.POD_NAME: pod}, [link, *clients], names.WORKER)


def _overseers(owner: Owner, cuts: frozenset[LinkCut]) -> Manifest:
    selector = names.selector(owner.name, names.OVERSEER)
    ingress = _clients(owner, _sources(cuts, OVERSEER, Plane.CLIENT), names.OVERSEER_PORT)
    return _policy(owner, names.of(owner.name, names.OVERSEER), selector, ingress, names.OVERSEER)


def _policy(owner: Owner, name: str, selector: Manifest, ingress: list[Manifest], component: str) -> Manifest:
    spec = {"podSelector": {"matchLabels": selector}, "policyTypes": ["Ingress"], "ingress": ingress}
    return manifest(owner, kinds.POLICY, name, component=component, spec=spec)


def _clients(owner: Owner, cut: list[str], *ports: int) -> list[Manifest]:
    """Return the rule for the ports of clients: it admits clients and components, all but some workers, or nobody."""
    if ANYBODY in cut:
        return []
    own = {"podSelector": {"matchLabels": {names.CLUSTER: owner.name}}}
    peers: list[Manifest] = [own, *_operator(owner), *plain(owner.spec.clients)]
    if cut:
        # While a worker is cut off, only pods are admitted: an address block would admit that worker again.
        peers = [_but(owner, peer, cut) for peer in peers if "ipBlock" not in peer]
    return [{"from": peers, "ports": [_port(port) for port in ports]}]


def _operator(owner: Owner) -> list[Manifest]:
    """Return the operator as a peer, if it runs in the cluster."""
    if not owner.operator_namespace:
        return []
    namespace = {"matchLabels": {names.NAMESPACE: owner.operator_namespace}}
    return [{"namespaceSelector": namespace, "podSelector": {"matchLabels": {names.APPLICATION: names.MANAGER}}}]


def _but(owner: Owner, peer: Manifest, members: list[str]) -> Manifest:
    """Return the pods of ``peer`` that are none of these workers."""
    selector = peer.get("podSelector", {})
    expressions = [*selector.get("matchExpressions", []), *_except(owner, members)["matchExpressions"]]
    return {**peer, "podSelector": {**selector, "matchExpressions": expressions}}


def _sources(cuts: frozenset[LinkCut], target: str, plane: Plane) -> list[str]:
    return sorted(cut.source for cut in cuts if cut.target == target and cut.plane is plane)


def _except(owner: Owner, members: list[str]) -> Manifest:
    if not members:
        return {}
    pods = [names.of(owner.name, member) for member in members]
    return {"matchExpressions": [{"key": names.POD_NAME, "operator": "NotIn", "values": pods}]}


def _port(number: int) -> Manifest:
    return {"port": number, "protocol": "TCP"}
