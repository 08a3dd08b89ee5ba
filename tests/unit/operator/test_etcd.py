"""etcd's API of a HANas: at pods, Services and policies, in certificates, and in the status."""

from typing import Any

import msgspec
import pytest

from hanas_operator import cuts, kinds, names, rules
from hanas_operator.objects import etcd, policies, services, workloads
from hanas_operator.objects.owner import Manifest
from hanas_operator.status import EtcdStatus
from hanas_operator.tls import naming
from tests.unit.operator import cel, schemas
from tests.unit.operator.conftest import Bench
from tests.unit.operator.making import NAMESPACE, SCHEMA, failure, owner, status, view
from tests.unit.operator.test_policies import NEIGHBOUR, STRANGER, admits, worker

ON: dict[str, Any] = {"etcd": {}}
WITH_TLS: dict[str, Any] = {**ON, "tls": {"mode": "Managed"}}


def container(spec: dict[str, Any], of: int = 1) -> Manifest:
    """Return the container of a worker, or of an overseer (0)."""
    found: Manifest = workloads.workloads(owner(spec))[of]["spec"]["template"]["spec"]["containers"][0]
    return found


def environment(spec: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value") for entry in container(spec)["env"]}


def ports(spec: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Return the ports of each Service."""
    return {
        one["metadata"]["name"]: {port["name"]: port["port"] for port in one["spec"]["ports"]}
        for one in services.services(owner(spec))
    }


@pytest.mark.parametrize("spec", [{}, {"etcd": {"enabled": False, "port": 5000}}])
def test_without_the_field_or_with_false_nothing_speaks_it(spec: dict[str, Any]) -> None:
    assert not {"HANAS_ETCD_PORT", "HANAS_ETCD_URL"} & set(environment(spec))
    assert workloads.workloads(owner(spec)) == workloads.workloads(owner())
    assert services.services(owner(spec)) == services.services(owner())
    assert policies.policies(owner(spec), []) == policies.policies(owner(), [])
    assert etcd.endpoints(owner(spec)) is msgspec.UNSET


def test_a_spec_that_does_not_name_it_is_as_it_was() -> None:
    """The hash of a spec decides whether pods follow a new operator."""
    assert "etcd" not in msgspec.to_builtins(owner().spec)


@pytest.mark.parametrize(("spec", "scheme"), [(ON, "http"), (WITH_TLS, "https")])
def test_workers_get_the_port_and_a_name_that_stays(spec: dict[str, Any], scheme: str) -> None:
    variables = environment(spec)
    assert variables["HANAS_ETCD_PORT"] == "2379"
    assert variables["HANAS_ETCD_URL"] == f"{scheme}://$(POD_NAME).demo-workers.shop.svc:2379"
    assert list(variables).index("POD_NAME") < list(variables).index("HANAS_ETCD_URL")
    assert {"name": "etcd", "containerPort": 2379, "protocol": "TCP"} in container(spec)["ports"]
    assert container(spec, 0) == container({**spec, "etcd": {"enabled": False}}, 0), "overseers do not speak it"


def test_services_lead_to_it() -> None:
    there = ports({"etcd": {"port": 5000}, "services": {"each": {}}})
    assert there["demo-etcd"] == {"etcd": 5000}
    assert there["demo-main"] == there["demo-worker-0"] == {"http": 3001, "etcd": 5000}
    assert there["demo-workers"] == {"http": 3001, "link": 4001, "etcd": 5000}
    assert there["demo"] == {"http": 3001}
    made = services.services(owner({**ON, "services": {"etcd": {"type": "NodePort"}}}))
    (own,) = [one for one in made if one["metadata"]["name"] == "demo-etcd"]
    assert own["spec"]["type"] == "NodePort"
    assert own["spec"]["selector"] == names.selector("demo", names.WORKER), "ready workers, of any role"


def test_who_reaches_the_http_interface_reaches_it() -> None:
    cut = failure(target="worker-1", planes=["client"], direction="to")
    found = policies.policies(owner({**ON, "clients": [{"podSelector": {}}]}), [])
    for source, admitted in ((NEIGHBOUR, True), (worker("worker-1"), True), (STRANGER, False)):
        for port in (names.WORKER_PORT, 2379):
            assert admits(found, source, worker("worker-0"), port) is admitted
    assert not admits(policies.policies(owner(), []), NEIGHBOUR, worker("worker-0"), 2379)
    made = owner({**ON, "linkFailures": [cut]})
    found = policies.policies(made, cuts.of(made.spec.link_failures[0], made.members))
    assert not admits(found, worker("worker-0"), worker("worker-1"), 2379), "the client plane carries them"
    assert admits(found, NEIGHBOUR, worker("worker-1"), 2379)


def test_certificates_have_its_names() -> None:
    hosts = naming.components(owner(WITH_TLS)).names
    for host in ("demo-etcd", "demo-etcd.shop", "demo-etcd.shop.svc", "demo-etcd.shop.svc.cluster.local"):
        assert host in hosts
    assert "*.demo-workers.shop.svc" in hosts
    assert "demo-etcd" not in naming.components(owner({"tls": {"mode": "Managed"}})).names


def test_the_schema_completes_it() -> None:
    assert schemas.with_defaults(SCHEMA["properties"]["spec"], {"etcd": {}})["etcd"] == {"enabled": True, "port": 2379}
    assert [cel.evaluate(rules.ETCD_PORT[0].rule, self=port) for port in (2379, 3001, 4001)] == [True, False, False]


def test_the_status_tells_the_endpoints() -> None:
    assert etcd.endpoints(owner({**WITH_TLS, "workers": 2})) == EtcdStatus(
        service="https://demo-etcd.shop.svc:2379",
        endpoints=(
            "https://demo-worker-0.demo-workers.shop.svc:2379",
            "https://demo-worker-1.demo-workers.shop.svc:2379",
        ),
    )


async def test_turned_on_and_off_pods_are_replaced_and_the_service_comes_and_goes(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()

    def template() -> Manifest:
        made: Manifest = bench.server.take(kinds.STATEFUL_SET, NAMESPACE, "demo-worker")["spec"]["template"]
        return made

    def overseers() -> Manifest:
        made: Manifest = bench.server.take(kinds.DEPLOYMENT, NAMESPACE, "demo-overseer")["spec"]["template"]
        return made

    before, overseers_before = template(), overseers()
    assert "etcd" not in status(bench.server)
    bench.want(etcd={"enabled": True, "port": 2379})
    await bench.reconcile()
    assert [port["name"] for port in template()["spec"]["containers"][0]["ports"]] == ["http", "link", "etcd"]
    assert status(bench.server)["etcd"]["service"] == "http://demo-etcd.shop.svc:2379"
    assert bench.server.find(kinds.SERVICE, NAMESPACE, "demo-etcd") is not None
    assert overseers() == overseers_before
    bench.want(etcd={"enabled": False, "port": 2379})
    await bench.reconcile()
    assert template() == before
    assert bench.server.find(kinds.SERVICE, NAMESPACE, "demo-etcd") is None
    assert "etcd" not in status(bench.server)
    for service in bench.server.all(kinds.SERVICE):
        assert "etcd" not in {port["name"] for port in service["spec"]["ports"]}
    policy = bench.server.take(kinds.POLICY, NAMESPACE, "demo-worker-0")["spec"]
    assert 2379 not in {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
