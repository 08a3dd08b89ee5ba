"""What is passed on to pods and Services: settings, variables, sidecars, accounts, ids, and ways from outside."""

import re
from pathlib import Path
from typing import Any

import pytest

from hanas_operator import fittings, kinds, rules
from hanas_operator.objects import services, workloads
from hanas_operator.objects.owner import Manifest
from tests.unit.operator import cel, schemas
from tests.unit.operator.conftest import Bench
from tests.unit.operator.making import NAMESPACE, SCHEMA, condition, owner, status, view

ROOT = Path(__file__).parents[3]
OWN_FIELDS = {
    *("HANAS_FOLDER_ID", "HANAS_SECRET_FILE", "HANAS_CLIENT_TOKEN_FILE", "HANAS_HOSTS", "HANAS_PRESET"),
    *("HANAS_BACKUPS", "HANAS_ISOLATION_POLICY", "HANAS_LOG_LEVEL", "HANAS_CLIENTS_FILE", "HANAS_ENCRYPTION_KEY_FILE"),
    *("HANAS_TLS_CERT", "HANAS_TLS_KEY", "HANAS_TLS_CA", "HANAS_TLS_CLIENT_CA"),
    *("HANAS_ETCD_PORT", "HANAS_ETCD_URL"),
}
"""The settings that the operator makes of other fields of the spec."""
NOT_IN_PODS = {"HANAS_LISTEN"}
"""A pod listens on its address: it is asked from outside, by its kubelet at least."""


def pods(spec: dict[str, Any]) -> list[Manifest]:
    """Return the pod specs of overseers and workers."""
    assert schemas.errors(SCHEMA["properties"]["spec"], spec) == []
    return [one["spec"]["template"]["spec"] for one in workloads.workloads(owner(spec))]


def environment(pod: Manifest) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in pod["containers"][0]["env"]}


def test_every_documented_setting_can_be_set() -> None:
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    table, timings = (text.partition(f"\n## {name}\n")[2].partition("\n## ")[0] for name in ("Environment", "Timings"))
    documented = set(re.findall(r"`(HANAS_[A-Z_]+)`", "\n".join(re.findall(r"^\|([^|]*)\|", table, re.MULTILINE))))
    documented |= {f"HANAS_{name.upper()}" for name in re.findall(r"^\| `([a-z_]+)` \|", timings, re.MULTILINE)}
    assert documented == {*fittings.SETTINGS, *OWN_FIELDS, *NOT_IN_PODS}


def test_settings_and_variables_reach_workers_and_overseers() -> None:
    secret = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    settings = {"HANAS_VALUE_BYTES": 1048576, "HANAS_COMPACT_SHARE": "0.3"}
    for pod in pods({"settings": settings, "env": [{"name": "TZ", "value": "UTC"}, secret]}):
        found = environment(pod)
        assert found["HANAS_VALUE_BYTES"] == "1048576"
        assert (found["HANAS_COMPACT_SHARE"], found["TZ"], found["TOKEN"]) == ("0.3", "UTC", secret["valueFrom"])


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("HANAS_CACHE_BYTES", True),
        ("HANAS_SUSPECT_AFTER", True),
        ("HANAS_SECRET_FILE", False),
        ("HANAS_SUSPECT_AFTERS", False),
        ("PORT", False),
    ],
)
def test_what_is_a_setting(name: str, held: bool) -> None:
    assert cel.evaluate(rules.SETTING[0].rule, self={name: "1"}) is held


@pytest.mark.parametrize(
    ("variable", "held"),
    [
        ({"name": "TZ", "value": "UTC"}, True),
        ({"name": "PORTS"}, True),
        ({"name": "PORT", "value": "1"}, False),
        ({"name": "HANAS_HOSTS", "value": "*"}, False),
        ({"name": "A", "value": "1", "valueFrom": {}}, False),
    ],
)
def test_what_is_a_variable(variable: dict[str, Any], held: bool) -> None:
    assert all(cel.evaluate(rule.rule, self=variable) for rule in rules.VARIABLE) is held


def test_user_and_groups_may_be_left_to_the_cluster() -> None:
    for pod in pods({"podSecurityContext": {"assignedBy": "Cluster", "supplementalGroups": [7]}}):
        context = pod["securityContext"]
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(context)
        assert (context["runAsNonRoot"], context["supplementalGroups"]) == (True, [7])
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}


def test_sidecars_volumes_and_account() -> None:
    sidecar = {"name": "logs", "image": "logs:1", "volumeMounts": [{"name": "conf", "mountPath": "/conf"}]}
    volume = {"name": "conf", "configMap": {"name": "logs"}}
    for pod in pods({"sidecars": [sidecar], "volumes": [volume], "serviceAccountName": "shop"}):
        assert pod["containers"][1:] == [sidecar]
        assert volume in pod["volumes"]
        assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("shop", False)


def test_types_and_annotations_of_services() -> None:
    balanced = {"type": "LoadBalancer", "annotations": {"a": "b"}, "externalTrafficPolicy": "Local"}
    made = {one["metadata"]["name"]: one for one in services.services(owner({"services": {"main": balanced}}))}
    main = made["demo-main"]
    assert (main["spec"]["type"], main["spec"]["externalTrafficPolicy"]) == ("LoadBalancer", "Local")
    assert main["metadata"]["annotations"]["a"] == "b"
    assert all("type" not in one["spec"] for name, one in made.items() if name != "demo-main")
    assert "demo-worker-0" not in made


def test_redirects_lead_clients_outside_to_a_service_of_each_worker() -> None:
    host = "{member}.hanas.example.com"
    spec = {
        "advertiseUrl": f"http://{host}:3001",
        "services": {"each": {"type": "LoadBalancer", "annotations": {"external-dns/hostname": host}}},
    }
    worker = environment(pods(spec)[1])
    assert worker["ADVERTISE_URL"] == "http://$(WORKER_ID).hanas.example.com:3001"
    assert list(worker).index("WORKER_ID") < list(worker).index("ADVERTISE_URL")
    assert "demo-workers.shop.svc" in worker["LINK_URL"], "peers stay in the cluster"
    made = {one["metadata"]["name"]: one for one in services.services(owner(spec))}
    one = made["demo-worker-1"]
    assert one["spec"]["selector"]["statefulset.kubernetes.io/pod-name"] == "demo-worker-1"
    assert one["metadata"]["annotations"]["external-dns/hostname"] == "worker-1.hanas.example.com"


async def test_addresses_are_told_and_services_that_are_not_demanded_go(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start(services={"main": {"type": "LoadBalancer"}, "each": {"type": "NodePort"}})
    ingress = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example.com"}]}}}
    bench.server.change(kinds.SERVICE, NAMESPACE, "demo-main", ingress)
    bench.server.take(kinds.SERVICE, NAMESPACE, "demo-worker-0")["spec"]["ports"][0]["nodePort"] = 30001
    await bench.reconcile()
    assert status(bench.server)["addresses"] == [
        {"service": "demo-main", "address": "192.0.2.1", "port": 3001},
        {"service": "demo-main", "address": "lb.example.com", "port": 3001},
        {"service": "demo-worker-0", "address": "", "port": 30001},
    ]
    bench.want(workers=2, services={"each": {"type": "NodePort"}})
    await bench.reconcile()
    assert bench.server.find(kinds.SERVICE, NAMESPACE, "demo-worker-2") is None
    assert bench.server.find(kinds.SERVICE, NAMESPACE, "demo-worker-1") is not None
    bench.want(workers=2)
    await bench.reconcile()
    assert len(bench.server.all(kinds.SERVICE)) == 4
    assert condition(bench.server, "Degraded")["reason"] != "Rejected"
