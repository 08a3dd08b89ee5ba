"""charts/hanas, as helm lints and renders it."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from hanas_operator import crd, names, rbac, territory
from hanas_operator import settings as arguments
from tests.unit.packaging.documents import (
    NEWEST,
    OLDEST,
    ROOT,
    Document,
    assert_valid,
    helm,
    of_kind,
    parsed,
    restricted,
)

__all__ = ["helm"]
CHART = str(ROOT / "charts/hanas")
SETS: dict[str, list[str]] = {
    "as it is": [],
    "two namespaces": ["operator.watchNamespaces={one,two}"],
    "everything on": [
        "metrics.serviceMonitor.enabled=true",
        "metrics.clusters.podMonitor.enabled=true",
        "metrics.clusters.podMonitor.labels.release=prometheus",
        "metrics.clusters.prometheusRule.enabled=true",
        "metrics.clusters.prometheusRule.labels.release=prometheus",
        "metrics.clusters.dashboard.enabled=true",
        "metrics.clusters.dashboard.annotations.folder=HANas",
        "registry=registry.example.com:5000/team/",
        "image.digest=sha256:" + 64 * "0",
        "imagePullSecrets={pull}",
        "operator.priorityClassName=high",
        "operator.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey=zone",
        "operator.nodeSelector.disk=ssd",
        "operator.podLabels.team=x",
        "operator.podAnnotations.note=x",
        "operator.tolerations[0].operator=Exists",
        "serviceAccount.annotations.note=x",
        "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring",
        "tests.storage.storageClassName=nfs",
    ],
    "everything off": [
        "crd.create=false",
        "rbac.create=false",
        "serviceAccount.create=false",
        "serviceAccount.name=mine",
        "metrics.service.enabled=false",
        "networkPolicy.enabled=false",
        "tests.cluster=demo",
        "operator.replicas=1",
        "operator.priorityClass.create=false",
        "operator.runAsUser=null",
        "operator.runAsGroup=null",
    ],
}


def template(helm: str, *values: str, namespace: str = "there", version: str = NEWEST) -> list[Document]:
    """What `helm template` renders; AssertionError with helm's words if it refuses."""
    options = [word for value in values for word in ("--set", value)]
    line = [helm, "template", "release", CHART, "--namespace", namespace, "--kube-version", f"{version}.0", *options]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return parsed(done.stdout)


def refusal(helm: str, *values: str) -> str:
    with pytest.raises(AssertionError) as refused:
        template(helm, *values)
    return str(refused.value)


def one(documents: list[Document], kind: str) -> Document:
    (found,) = of_kind(documents, kind)
    return found


def operator_pod(documents: list[Document]) -> Any:
    return one(documents, "Deployment")["spec"]["template"]["spec"]


@pytest.mark.parametrize("values", SETS.values(), ids=SETS)
def test_lint(helm: str, values: list[str]) -> None:
    options = [word for value in values for word in ("--set", value)]
    line = [helm, "lint", "--strict", CHART, *options]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("values", SETS.values(), ids=SETS)
def test_every_object_is_valid_and_every_pod_restricted(helm: str, values: list[str]) -> None:
    documents = template(helm, *values)
    assert_valid(documents)
    names = [
        (document["kind"], document["metadata"].get("namespace"), document["metadata"]["name"])
        for document in documents
    ]
    assert len(set(names)) == len(names)
    pods = [operator_pod(documents), one(documents, "Pod")["spec"]]
    assert [restricted(pod) for pod in pods] == [[], []]


def test_on_the_oldest_kubernetes_the_chart_is_the_same_and_on_an_older_one_refused(helm: str) -> None:
    assert template(helm, version=OLDEST) == template(helm)
    major, minor = map(int, OLDEST.split("."))
    with pytest.raises(AssertionError, match="chart requires kubeVersion"):
        template(helm, version=f"{major}.{minor - 1}")


def test_the_definitions_stay_and_can_be_left_out(helm: str) -> None:
    definitions = of_kind(template(helm), "CustomResourceDefinition")
    assert [each["metadata"]["annotations"] for each in definitions] == [{"helm.sh/resource-policy": "keep"}] * 4
    gone = of_kind(template(helm, "crd.keep=false"), "CustomResourceDefinition")
    assert ["annotations" in each["metadata"] for each in gone] == [False] * 4
    assert not of_kind(template(helm, "crd.create=false"), "CustomResourceDefinition")


def test_two_operators_of_which_one_reconciles(helm: str) -> None:
    documents = template(helm)
    assert one(documents, "Deployment")["spec"]["replicas"] == 2
    (container,) = operator_pod(documents)["containers"]
    (lease,) = [each["value"] for each in container["env"] if each["name"] == "HANAS_LEASE"]
    namespace, name = arguments.read(["--lease", lease], {}).lease or ("", "")
    assert territory.NAME not in {name, names.MANAGER}, "two Leases, also in the namespace of the release hanas"
    role, binding = one(documents, "Role"), one(documents, "RoleBinding")
    assert role["rules"] == rbac.lease_rules(name)
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == namespace == "there"
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


def test_operators_keep_apart_from_each_other_and_from_mains(helm: str) -> None:
    documents = template(helm)
    labels = one(documents, "Deployment")["spec"]["template"]["metadata"]["labels"]
    preferred = operator_pod(documents)["affinity"]["podAntiAffinity"]
    others, mains = preferred["preferredDuringSchedulingIgnoredDuringExecution"]
    assert others["podAffinityTerm"]["labelSelector"]["matchLabels"].items() <= labels.items()
    main = {**names.labels("demo", names.WORKER), names.ROLE: names.MAIN}
    assert mains["podAffinityTerm"]["labelSelector"]["matchLabels"].items() <= main.items()
    assert mains["podAffinityTerm"]["namespaceSelector"] == {}
    own = template(helm, "operator.affinity.nodeAffinity.x=y")
    assert operator_pod(own)["affinity"] == {"nodeAffinity": {"x": "y"}}


def test_operators_are_neither_drained_together_nor_pushed_aside(helm: str) -> None:
    documents = template(helm)
    labels = one(documents, "Deployment")["spec"]["template"]["metadata"]["labels"]
    budget = one(documents, "PodDisruptionBudget")["spec"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    assert budget["maxUnavailable"] == 1
    assert not of_kind(template(helm, "operator.replicas=1"), "PodDisruptionBudget")
    assert operator_pod(documents)["priorityClassName"] == one(documents, "PriorityClass")["metadata"]["name"]
    for values, name in (
        (["operator.priorityClassName=high"], "high"),
        (["operator.priorityClass.create=false"], None),
    ):
        documents = template(helm, *values)
        assert operator_pod(documents).get("priorityClassName") == name
        assert not of_kind(documents, "PriorityClass")


def test_for_the_whole_cluster(helm: str) -> None:
    documents = template(helm)
    role = next(
        role for role in of_kind(documents, "ClusterRole") if role["metadata"]["name"] == "release-hanas-operator"
    )
    assert role["rules"] == [*rbac.rules(), *rbac.cluster_rules()]
    assert [role["metadata"]["name"] for role in of_kind(documents, "Role")] == ["release-hanas-operator-lease"]
    assert "args" not in operator_pod(documents)["containers"][0]


def test_namespaced(helm: str) -> None:
    documents = template(helm, *SETS["two namespaces"], "rbac.aggregate=false")
    roles, bindings = (
        [each for each in of_kind(documents, kind) if not each["metadata"]["name"].endswith("-lease")]
        for kind in ("Role", "RoleBinding")
    )
    assert [role["metadata"]["namespace"] for role in roles] == ["one", "two"]
    assert [binding["metadata"]["namespace"] for binding in bindings] == ["one", "two"]
    assert all(role["rules"] == rbac.rules() for role in roles)
    assert [role["rules"] for role in of_kind(documents, "ClusterRole")] == [rbac.cluster_rules()]
    assert operator_pod(documents)["containers"][0]["args"] == ["--namespace=one", "--namespace=two"]
    assert not of_kind(
        template(
            helm, *SETS["two namespaces"], "rbac.aggregate=false", "rbac.storageClasses=false", "rbac.nodes=false"
        ),
        "ClusterRole",
    )


def test_nobody_is_allowed_everything(helm: str) -> None:
    for role in of_kind(template(helm), "ClusterRole"):
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


def test_cutting_links_needs_no_right_to_change_the_hanas(helm: str) -> None:
    roles = {role["metadata"]["name"]: role for role in of_kind(template(helm), "ClusterRole")}
    role = roles["release-hanas-operator-link-failures"]
    assert not [label for label in role["metadata"]["labels"] if label.startswith("rbac.authorization.k8s.io/")]
    rights = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    reading = {"get", "list", "watch"}
    assert {verb for resource, verb in rights if resource == "hanases"} == reading
    assert {"create", "delete", *reading} <= {verb for resource, verb in rights if resource == "hanaslinkfailures"}
    for part, verb in (("view", "get"), ("edit", "create")):
        (rule,) = roles[f"release-hanas-operator-{part}"]["rules"]
        assert "hanaslinkfailures" in rule["resources"]
        assert verb in rule["verbs"]


def test_bindings_and_pod_name_the_same_account(helm: str) -> None:
    for values in SETS.values():
        documents = template(helm, *values)
        account = operator_pod(documents)["serviceAccountName"]
        bindings = [*of_kind(documents, "ClusterRoleBinding"), *of_kind(documents, "RoleBinding")]
        assert {subject["name"] for binding in bindings for subject in binding["subjects"]} <= {account}
        assert [made["metadata"]["name"] for made in of_kind(documents, "ServiceAccount")] in ([account], [])


def test_images(helm: str) -> None:
    def images(*values: str) -> tuple[str, str]:
        (container,) = operator_pod(template(helm, *values))["containers"]
        environment = {variable["name"]: variable.get("value") for variable in container["env"]}
        return container["image"], environment["HANAS_IMAGE"]

    assert images() == ("hanas-operator:0.1.0", "hanas:0.1.0")
    assert images("registry=r.example.com/x", "image.tag=v1") == (
        "r.example.com/x/hanas-operator:0.1.0",
        "r.example.com/x/hanas:v1",
    )
    digest = "sha256:" + 64 * "a"
    assert images(f"operator.image.digest={digest}", "operator.image.tag=v2")[0] == f"hanas-operator@{digest}"


def test_the_policy_selects_the_operator_and_the_service_finds_it(helm: str) -> None:
    documents = template(helm)
    labels = one(documents, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        one(documents, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        one(documents, "Service")["spec"]["selector"],
        one(documents, "Deployment")["spec"]["selector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels for selector in selectors)
    assert not any(selector.items() <= one(documents, "Pod")["metadata"]["labels"].items() for selector in selectors)


def test_helm_test_makes_a_cluster_or_takes_one(helm: str) -> None:
    documents = template(helm, "tests.storage.storageClassName=nfs")
    made, pod = one(documents, "HANas"), one(documents, "Pod")
    assert made["metadata"]["annotations"]["helm.sh/hook"] == pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert made["spec"]["storage"] == {"size": "64Mi", "storageClassName": "nfs"}
    script, cluster, patience = pod["spec"]["containers"][0]["args"]
    assert (cluster, patience) == (made["metadata"]["name"], "240")
    compile(script, "test.py", "exec")

    documents = template(helm, "tests.cluster=demo", *SETS["two namespaces"])
    assert not of_kind(documents, "HANas")
    assert one(documents, "Pod")["spec"]["containers"][0]["args"][1] == "demo"
    assert one(documents, "Pod")["metadata"]["namespace"] == "one"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("operator.replicas=0", "replicas"),
        ("operator.priorityClass.value=2000000000", "value"),
        ("operater.logLevel=INFO", "operater"),
        ("operator.logLevel=loud", "logLevel"),
        ("operator.watchNamespaces={One}", "watchNamespaces"),
        ("operator.runAsUser=0", "runAsUser"),
        ("image.repository=", "repository"),
        ("image.digest=latest", "digest"),
        ("networkPolicy.apiServerPorts={0}", "apiServerPorts"),
        ("tests.patience=0", "patience"),
        ("crd.create=maybe", "create"),
    ],
)
def test_wrong_values_are_refused(helm: str, value: str, words: str) -> None:
    assert words in refusal(helm, value)


def test_the_values_are_all_in_the_schema() -> None:
    def leaves(values: Any, schema: Any) -> None:
        assert isinstance(values, dict)
        for key, value in values.items():
            inner = schema["properties"][key]
            if isinstance(value, dict) and "properties" in inner:
                leaves(value, inner)

    schema = yaml.safe_load(Path(CHART, "values.schema.json").read_text(encoding="utf-8"))
    leaves(yaml.safe_load(Path(CHART, "values.yaml").read_text(encoding="utf-8")), schema)


def test_the_chart_says_what_the_project_says() -> None:
    chart = yaml.safe_load(Path(CHART, "Chart.yaml").read_text(encoding="utf-8"))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nversion = "{chart["appVersion"]}"\n' in project
    resources = yaml.safe_load(chart["annotations"]["artifacthub.io/crds"])
    assert [resource["name"] for resource in resources] == [each["metadata"]["name"] for each in crd.definitions()]
    assert_valid(yaml.safe_load(chart["annotations"]["artifacthub.io/crdsExamples"]))


def test_notes_name_the_next_command(helm: str, tmp_path: Path) -> None:
    chart = tmp_path / "hanas"
    shutil.copytree(CHART, chart)
    # `helm template` leaves the notes out, so they become the content of an object.
    notes = (chart / "templates/NOTES.txt").read_text(encoding="utf-8")
    (chart / "templates/notes.yaml").write_text(
        f'{{{{- define "notes" }}}}{notes}{{{{ end -}}}}\n'
        'kind: Notes\nmetadata: {name: n}\nnotes: {{ include "notes" . | quote }}\n'
    )
    for options, namespace in (([], "there"), (["--set", "operator.watchNamespaces={one,two}"], "one")):
        line = [helm, "template", "release", str(chart), "--namespace", "there", "--kube-version", "1.34.0", *options]
        rendered = parsed(subprocess.run(line, capture_output=True, text=True, check=True).stdout)
        said = one(rendered, "Notes")["notes"]
        assert f"kubectl apply --namespace {namespace} -f -" in said
        assert "helm test release --namespace there" in said
        assert f"kubectl logs release-hanas-operator-test --namespace {namespace}" in said
        example = said.partition("<<'EOF'\n")[2].partition("  EOF")[0]
        assert_valid(parsed(example))
