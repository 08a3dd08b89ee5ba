"""Link failures become NetworkPolicies: who gets through, by the rules of the Kubernetes API, and who does not."""

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from hanas_operator import cuts, names
from hanas_operator.cuts import ANYBODY, OVERSEER, LinkCut
from hanas_operator.objects import policies
from hanas_operator.objects.owner import Manifest, Owner
from hanas_operator.spec import Plane
from tests.unit.operator.making import failure, owner, pod

STRANGER = {"metadata": {"name": "shop-web-1", "namespace": "other", "labels": {"app": "web"}}}
NEIGHBOUR = {"metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web"}}}
OPERATOR = {"metadata": {"name": "op", "namespace": "system", "labels": {"app.kubernetes.io/name": "hanas-operator"}}}
OUTSIDE = {"address": "192.0.2.7", "metadata": {"name": "", "namespace": "", "labels": {}}}
PORTS = {"link": names.LINK_PORT, "client": names.WORKER_PORT}


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """metav1.LabelSelector."""
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "NotIn"
        if labels.get(expression["key"]) in expression["values"]:
            return False
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())


def admits(found: list[Manifest], source: dict[str, Any], target: dict[str, Any], port: int) -> bool:
    """Kubernetes documentation, "Network Policies": policies add up; a pod that none selects admits everything."""
    of_target = [one["spec"] for one in found if matches(one["spec"]["podSelector"], target["metadata"]["labels"])]
    if not of_target:
        return True
    return any(
        port in {entry["port"] for entry in rule["ports"]} and _is_from(rule, source, target)
        for policy in of_target
        for rule in policy["ingress"]
    )


def _is_from(rule: dict[str, Any], source: dict[str, Any], target: dict[str, Any]) -> bool:
    if "from" not in rule:
        return True
    return any(_is_peer(peer, source, target) for peer in rule["from"])


def _is_peer(peer: dict[str, Any], source: dict[str, Any], target: dict[str, Any]) -> bool:
    """networking.k8s.io/v1, NetworkPolicyPeer; an address block admits pods too."""
    if "ipBlock" in peer:
        address = ipaddress.ip_address(source.get("address", "10.0.0.1"))
        out = [ipaddress.ip_network(cidr) for cidr in peer["ipBlock"].get("except", [])]
        return address in ipaddress.ip_network(peer["ipBlock"]["cidr"]) and not any(address in each for each in out)
    namespace = source["metadata"]["namespace"]
    if "namespaceSelector" in peer:
        inside = matches(peer["namespaceSelector"], {"kubernetes.io/metadata.name": namespace, "team": namespace})
    else:
        inside = namespace == target["metadata"]["namespace"]
    return inside and bool(namespace) and matches(peer.get("podSelector", {}), source["metadata"]["labels"])


def worker(member: str) -> dict[str, Any]:
    return pod(f"demo-{member}", names.WORKER)


def overseer() -> dict[str, Any]:
    return pod("demo-overseer-abc", names.OVERSEER)


def made(of: Owner) -> tuple[list[Manifest], frozenset[LinkCut]]:
    found = frozenset().union(*(cuts.of(one, of.members) for one in of.spec.link_failures))
    return policies.policies(of, found), found


def link(found: list[Manifest], source: str, target: str) -> bool:
    return admits(found, worker(source), worker(target), names.LINK_PORT)


def test_without_failures_workers_reach_each_other_and_nobody_else_reaches_their_links() -> None:
    found, _ = made(owner())
    assert all(link(found, f"worker-{one}", f"worker-{other}") for one in range(3) for other in range(3))
    for source in (STRANGER, NEIGHBOUR, overseer(), OUTSIDE):
        assert not admits(found, source, worker("worker-0"), names.LINK_PORT)
    for source in (NEIGHBOUR, overseer(), worker("worker-1")):
        assert admits(found, source, worker("worker-0"), names.WORKER_PORT)
        assert admits(found, source, overseer(), names.OVERSEER_PORT)


TEAM = {"namespaceSelector": {"matchLabels": {"team": "other"}}}
WEB = {"podSelector": {"matchLabels": {"app": "web"}}}
BLOCK = {"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.128/25"]}}


@pytest.mark.parametrize(
    ("clients", "admitted"),
    [
        (None, ["neighbour"]),
        ([], []),
        ([TEAM], ["stranger"]),
        ([WEB], ["neighbour"]),
        ([{**TEAM, **WEB}], ["stranger"]),
        ([{**TEAM, "podSelector": {"matchLabels": {"app": "db"}}}], []),
        ([{"namespaceSelector": {}}], ["neighbour", "stranger"]),
        ([BLOCK], ["outside"]),
        ([BLOCK, WEB], ["neighbour", "outside"]),
        ([{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.0/25"]}}], []),
    ],
)
@pytest.mark.parametrize("home", ["system", ""])
def test_the_http_interfaces_admit_components_the_operator_and_clients(
    clients: list[Any] | None, admitted: list[str], home: str
) -> None:
    given = structs.replace(owner({} if clients is None else {"clients": clients}), operator_namespace=home)
    found, _ = made(given)
    everybody: dict[str, dict[str, Any]] = {"neighbour": NEIGHBOUR, "stranger": STRANGER, "outside": OUTSIDE}
    impostor = {"metadata": {**OPERATOR["metadata"], "namespace": "other"}}
    for target, port in ((worker("worker-0"), names.WORKER_PORT), (overseer(), names.OVERSEER_PORT)):
        assert [name for name, each in everybody.items() if admits(found, each, target, port)] == admitted
        assert admits(found, worker("worker-1"), target, port)
        assert admits(found, overseer(), target, port)
        assert admits(found, OPERATOR, target, port) is (home == "system" or clients == [{"namespaceSelector": {}}])
        if "stranger" not in admitted:
            assert not admits(found, impostor, target, port)
    assert link(found, "worker-0", "worker-1")


def test_no_client_gets_a_cut_worker_in_again() -> None:
    cut = failure(target="worker-1", planes=["client"], direction="to")
    everybody = [{"namespaceSelector": {}}, WEB, {"ipBlock": {"cidr": "0.0.0.0/0"}}]
    found, _ = made(owner({"clients": everybody, "linkFailures": [cut]}))
    assert not admits(found, worker("worker-0"), worker("worker-1"), names.WORKER_PORT)
    for source in (worker("worker-2"), STRANGER, NEIGHBOUR, overseer()):
        assert admits(found, source, worker("worker-1"), names.WORKER_PORT)
    assert admits(found, OUTSIDE, worker("worker-0"), names.WORKER_PORT)


@pytest.mark.parametrize(
    ("direction", "there", "back"), [("both", False, False), ("to", False, True), ("from", True, False)]
)
def test_a_link_is_cut_in_its_direction_only(direction: str, there: bool, back: bool) -> None:
    found, _ = made(owner({"linkFailures": [failure(direction=direction)]}))
    assert link(found, "worker-0", "worker-1") is there
    assert link(found, "worker-1", "worker-0") is back
    assert link(found, "worker-0", "worker-2")
    assert link(found, "worker-2", "worker-1")
    assert admits(found, worker("worker-0"), worker("worker-1"), names.WORKER_PORT)


def test_one_failure_does_not_undo_another() -> None:
    found, _ = made(owner({"linkFailures": [failure("a"), failure("b", "worker-2", "worker-1")]}))
    assert not link(found, "worker-0", "worker-1")
    assert not link(found, "worker-2", "worker-1")
    assert (
        len([one for one in found if matches(one["spec"]["podSelector"], worker("worker-1")["metadata"]["labels"])])
        == 1
    )


def test_an_isolated_worker_is_reached_by_nobody_and_reaches_nobody() -> None:
    found, _ = made(owner({"linkFailures": [failure(target="*", planes=["link", "client"])]}))
    alone = worker("worker-0")
    for port in PORTS.values():
        for source in (NEIGHBOUR, OPERATOR, overseer(), worker("worker-1")):
            assert not admits(found, source, alone, port)
        assert not admits(found, alone, worker("worker-1"), port)
    assert not admits(found, alone, overseer(), names.OVERSEER_PORT)
    assert admits(found, worker("worker-1"), overseer(), names.OVERSEER_PORT)
    assert admits(found, NEIGHBOUR, worker("worker-1"), names.WORKER_PORT)
    assert link(found, "worker-1", "worker-2")


def test_only_ingress_is_restricted_so_the_volume_is_never_cut() -> None:
    found, _ = made(owner({"linkFailures": [failure(target="*", planes=["link", "client"])]}))
    assert all(one["spec"]["policyTypes"] == ["Ingress"] and "egress" not in one["spec"] for one in found)


MEMBERS = [names.member(ordinal) for ordinal in range(4)]
FAILURES = st.lists(
    st.fixed_dictionaries(
        {
            "source": st.sampled_from(MEMBERS),
            "target": st.sampled_from([*MEMBERS, ANYBODY, OVERSEER]),
            "direction": st.sampled_from(["both", "to", "from"]),
            "planes": st.sets(st.sampled_from(["link", "client"]), min_size=1).map(sorted),
        }
    ).filter(lambda one: one["source"] != one["target"]),
    max_size=6,
)


@given(FAILURES)
def test_exactly_what_is_cut_does_not_get_through(wanted: list[dict[str, Any]]) -> None:
    of = owner({"workers": 4, "linkFailures": [{"name": f"f{number}", **one} for number, one in enumerate(wanted)]})
    found, cut = made(of)
    for target in MEMBERS:
        for plane, port in PORTS.items():
            for source in set(MEMBERS) - {target}:
                wanted_out = {LinkCut(source, target, Plane(plane)), LinkCut(ANYBODY, target, Plane(plane))} & cut
                assert admits(found, worker(source), worker(target), port) is not bool(wanted_out)
    for source in MEMBERS:
        assert admits(found, worker(source), overseer(), names.OVERSEER_PORT) is (
            LinkCut(source, OVERSEER, Plane.CLIENT) not in cut
        )


@given(FAILURES)
def test_a_failure_and_the_same_one_seen_from_the_other_end_cut_the_same(wanted: list[dict[str, Any]]) -> None:
    turned = {"both": "both", "to": "from", "from": "to"}
    for one in wanted:
        if one["target"] in MEMBERS:
            other = {**one, "source": one["target"], "target": one["source"], "direction": turned[one["direction"]]}
            of = owner({"workers": 4, "linkFailures": [{"name": "a", **one}, {"name": "b", **other}]})
            assert cuts.of(of.spec.link_failures[0], MEMBERS) == cuts.of(of.spec.link_failures[1], MEMBERS)
