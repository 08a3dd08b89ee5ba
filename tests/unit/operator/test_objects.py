"""The objects that are made of a HANas: golden files, and what must hold for every spec.

``HANAS_GOLDEN=write`` writes the golden files anew; look at the difference before you keep it.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hanas_operator import cuts, names
from hanas_operator.objects import cluster, secret, workloads
from hanas_operator.objects.owner import Manifest, Owner
from tests.unit.operator.making import FOLDER_ID, failure, owner

GOLDEN = Path(__file__).parent / "golden"
SPECS: dict[str, dict[str, Any]] = {
    "minimal": {},
    "production": {
        "workers": 5,
        "storage": {"storageClassName": "nfs", "size": "20Gi", "subPath": "hanas/demo"},
        "overseer": {"replicas": 3},
        "preset": "cloud",
        "isolationPolicy": "StepDown",
        "reclaim": "Delete",
        "image": "example/hanas:1.2.3",
        "imagePullPolicy": "Always",
        "imagePullSecrets": [{"name": "pull"}],
        "clientTokenSecret": {"name": "clients"},
        "resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        "podAnnotations": {"example.com/team": "shop"},
        "podLabels": {"team": "shop", "hanas.dev/cluster": "not-mine"},
        "podSecurityContext": {"fsGroup": 2000, "supplementalGroups": [3000]},
        "priorityClassName": "high",
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
    },
    "link-failures": {
        "storage": {"existingClaim": "shared"},
        "linkFailures": [
            failure("both-ways"),
            failure("one-way", "worker-2", "worker-0", direction="to"),
            failure("overseer", "worker-1", "overseer", planes=["client"]),
        ],
    },
    "etcd": {
        "workers": 2,
        "etcd": {"port": 12379},
        "tls": {"mode": "Managed"},
        "services": {"etcd": {"type": "LoadBalancer"}},
    },
    "isolation": {"backups": "serve", "linkFailures": [failure("alone", "worker-0", "*", planes=["link", "client"])]},
}


def everything(of: Owner) -> list[Manifest]:
    found = frozenset().union(*(cuts.of(one, of.members) for one in of.spec.link_failures))
    return [*cluster.surroundings(of, found), *workloads.workloads(of)]


@pytest.fixture(params=SPECS)
def made(request: pytest.FixtureRequest) -> list[Manifest]:
    return everything(owner(SPECS[request.param], folder_id=FOLDER_ID))


@pytest.mark.parametrize("name", SPECS)
def test_objects_are_those_of_the_golden_file(name: str) -> None:
    text = json.dumps(everything(owner(SPECS[name], folder_id=FOLDER_ID)), indent=1) + "\n"
    golden = GOLDEN / f"{name}.json"
    if os.environ.get("HANAS_GOLDEN") == "write":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert json.loads(text) == json.loads(golden.read_text())


def test_the_same_spec_makes_the_same_objects(made: list[Manifest], request: pytest.FixtureRequest) -> None:
    assert made == everything(owner(SPECS[request.node.callspec.params["made"]], folder_id=FOLDER_ID))


def test_everything_is_labelled_and_goes_with_its_owner(made: list[Manifest]) -> None:
    for one in made:
        meta = one["metadata"]
        assert meta["namespace"] == "shop"
        assert meta["labels"][names.CLUSTER] == "demo"
        assert meta["labels"][names.MANAGED_BY] == names.MANAGER
        if one["kind"] != "PersistentVolumeClaim":
            assert [reference["uid"] for reference in meta["ownerReferences"]] == ["0f1e2d3c-uid"]


@pytest.mark.parametrize(("reclaim", "goes"), [("Retain", False), ("Delete", True)])
def test_the_claim_stays_unless_it_is_to_go(reclaim: str, goes: bool) -> None:
    claim = next(one for one in everything(owner({"reclaim": reclaim})) if one["kind"] == "PersistentVolumeClaim")
    assert ("ownerReferences" in claim["metadata"]) is goes
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_an_existing_claim_is_used_and_not_made() -> None:
    made = everything(owner({"storage": {"existingClaim": "shared"}}))
    assert "PersistentVolumeClaim" not in {one["kind"] for one in made}
    for pod in templates(made):
        volume = next(volume for volume in pod["spec"]["volumes"] if volume["name"] == "folder")
        assert volume["persistentVolumeClaim"] == {"claimName": "shared"}


def templates(made: list[Manifest]) -> list[Manifest]:
    return [one["spec"]["template"] for one in made if one["kind"] in {"Deployment", "StatefulSet"}]


def test_pods_are_restricted(made: list[Manifest]) -> None:
    """Kubernetes documentation, "Pod Security Standards", policy ``restricted``; and a root that is read-only."""
    for pod in templates(made):
        spec = pod["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert {key for volume in spec["volumes"] for key in volume} <= {
            *("name", "persistentVolumeClaim", "secret", "emptyDir")
        }
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert security["readOnlyRootFilesystem"] is True
            assert not any("hostPort" in port for port in container["ports"])


def test_selectors_find_the_pods_that_they_mean(made: list[Manifest]) -> None:
    pods = {
        pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod["metadata"]["labels"] for pod in templates(made)
    }
    for one in made:
        if one["kind"] in {"Deployment", "StatefulSet"}:
            labels = one["spec"]["template"]["metadata"]["labels"]
            assert one["spec"]["selector"]["matchLabels"].items() <= labels.items()
        if one["kind"] == "Service":
            chosen = {name: value for name, value in one["spec"]["selector"].items() if name != names.ROLE}
            assert [component for component, labels in pods.items() if chosen.items() <= labels.items()] == [
                chosen["app.kubernetes.io/component"]
            ]


def test_services_lead_to_ports_that_containers_have(made: list[Manifest]) -> None:
    ports = {
        pod["metadata"]["labels"]["app.kubernetes.io/component"]: {
            port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]
        }
        for pod in templates(made)
    }
    for service in [one for one in made if one["kind"] == "Service"]:
        component = service["spec"]["selector"]["app.kubernetes.io/component"]
        for port in service["spec"]["ports"]:
            assert ports[component][port["targetPort"]] == port["port"]


def test_a_member_is_called_after_its_ordinal_without_a_shell() -> None:
    worker = next(one for one in everything(owner()) if one["kind"] == "StatefulSet")
    container = worker["spec"]["template"]["spec"]["containers"][0]
    environment = {entry["name"]: entry for entry in container["env"]}
    assert container["command"] == ["hanas-worker"]
    assert environment["POD_INDEX"]["valueFrom"]["fieldRef"]["fieldPath"] == (
        "metadata.labels['apps.kubernetes.io/pod-index']"
    )
    assert environment["WORKER_ID"]["value"] == "worker-$(POD_INDEX)"
    assert environment["ADVERTISE_URL"]["value"] == "http://$(POD_NAME).demo-workers.shop.svc:3001"
    order = list(environment)
    assert order.index("POD_INDEX") < order.index("WORKER_ID"), "variables refer only to earlier ones"


def test_names_for_browsers_are_handed_on() -> None:
    for hosts, value in (([], None), (["hanas.example.com", "*.example.org"], "hanas.example.com,*.example.org")):
        for one in templates(everything(owner({"hosts": hosts}))):
            environment = {entry["name"]: entry.get("value") for entry in one["spec"]["containers"][0]["env"]}
            assert environment.get("HANAS_HOSTS") == value


def test_learning_the_folder_id_restarts_no_pod() -> None:
    before, after = everything(owner()), everything(owner(folder_id=FOLDER_ID))
    assert templates(before) == templates(after)
    assert [one["data"] for one in after if one["kind"] == "ConfigMap"] == [{"folderId": FOLDER_ID}]
    assert not [one for one in before if one["kind"] == "ConfigMap"]


def test_a_link_failure_restarts_no_pod() -> None:
    calm, cut = everything(owner()), everything(owner({"linkFailures": [failure()]}))
    assert templates(calm) == templates(cut)


def test_a_drain_is_not_held_up_by_pods_that_are_not_ready_or_by_their_temporary_files(made: list[Manifest]) -> None:
    budgets = [one["spec"] for one in made if one["kind"] == "PodDisruptionBudget"]
    assert [budget["unhealthyPodEvictionPolicy"] for budget in budgets] == ["AlwaysAllow"] * 2
    for pod in templates(made):
        local = [volume["name"] for volume in pod["spec"]["volumes"] if "emptyDir" in volume]
        annotation = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
        assert pod["metadata"]["annotations"][annotation].split(",") == local


def test_what_users_label_does_not_take_pods_away() -> None:
    for pod in templates(everything(owner(SPECS["production"]))):
        assert pod["metadata"]["labels"][names.CLUSTER] == "demo"
        assert pod["metadata"]["labels"]["team"] == "shop"


def test_names_are_short_enough_for_labels_and_services() -> None:
    for one in everything(owner({"workers": 100}, name="a" * 40)):
        assert len(one["metadata"]["name"]) <= 63 - len("-0123456789"), "a controller appends a revision"


def test_a_secret_can_be_changed_and_pods_see_it() -> None:
    made = secret.components(owner(), ("new", "old"), "now/use")
    assert "immutable" not in made
    assert secret.lines(made) == ("new", "old")
    assert made["metadata"]["annotations"] == {names.ROTATION: "now/use"}
    for nothing in ({}, {"data": None}, {"data": {secret.KEY: ""}}, {"data": {secret.KEY: "/w=="}}):
        assert secret.lines(nothing) == ()


@pytest.mark.parametrize(
    ("spec", "drain", "grace"),
    [
        ({}, "5", 30),
        ({"preset": "cloud"}, "5", 30),
        ({"settings": {"HANAS_DRAIN_SECONDS": 60}}, "60", 74),
        ({"preset": "cloud", "settings": {"HANAS_DRAIN_SECONDS": "0.5", "HANAS_FOLDER_TIMEOUT": "40"}}, "0.5", 51),
        ({"settings": {"HANAS_DRAIN_SECONDS": "soon"}}, "soon", 30),
    ],
)
def test_pods_serve_on_when_they_are_stopped_and_have_the_time_for_it(
    spec: dict[str, Any], drain: str, grace: int
) -> None:
    for pod in templates(everything(owner(spec))):
        variables = [one for one in pod["spec"]["containers"][0]["env"] if one["name"] == "HANAS_DRAIN_SECONDS"]
        assert variables == [{"name": "HANAS_DRAIN_SECONDS", "value": drain}]
        assert pod["spec"]["terminationGracePeriodSeconds"] == grace
