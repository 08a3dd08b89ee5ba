"""manifests/: up to date with the chart and the operator, and valid."""

import json
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from manifests import render

from hanas_operator import crd
from tests.unit.packaging.documents import NEWEST, OLDEST, ROOT, assert_valid, errors, of_kind, parsed, restricted

FILES = sorted(
    path.relative_to(ROOT)
    for path in (ROOT / "manifests").rglob("*.yaml")
    # kind's own, a change of an object, and no object
    if path.name not in {"cluster.yaml", "shared-folder.yaml", "exceptions.yaml"}
)


def test_what_is_derived_is_up_to_date() -> None:
    assert render.differences() == [], "run: python manifests/render.py"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_manifest_is_valid(file: Path) -> None:
    documents = parsed((ROOT / file).read_text(encoding="utf-8"))
    assert documents
    assert_valid(documents)


GOLDEN = sorted((ROOT / "tests/unit/operator/golden").glob("*.json"))


@pytest.mark.parametrize("file", GOLDEN, ids=lambda path: path.stem)
def test_what_the_operator_makes_is_valid(file: Path) -> None:
    documents = json.loads(file.read_text(encoding="utf-8"))
    assert documents
    assert_valid(documents)


def test_the_newest_kubernetes_is_the_newest_that_can_be_judged() -> None:
    """A newer library of schemas is told here: documents.NEWEST and docs/kubernetes.md name the version."""
    assert ".".join(kubernetes_validate.latest_version().split(".")[:2]) == NEWEST
    versions = f"Kubernetes {OLDEST} or newer ({NEWEST} is the newest that it is checked against)"
    assert versions in (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")


def test_a_field_that_only_one_of_the_versions_knows_is_refused() -> None:
    spec = {"containers": [{"name": "a", "image": "a", "resources": {}}], "resources": {"limits": {"cpu": "1"}}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec}
    (words,) = errors(pod)
    assert words.startswith(f"Kubernetes {OLDEST}: spec: ")


def test_the_rendered_definitions_are_the_operators() -> None:
    documents = parsed((ROOT / "manifests/install.yaml").read_text(encoding="utf-8"))
    rendered = {each["metadata"]["name"]: each["spec"] for each in of_kind(documents, "CustomResourceDefinition")}
    wanted = {each["metadata"]["name"]: each["spec"] for each in crd.definitions()}
    assert rendered == yaml.safe_load(yaml.safe_dump(wanted))


def test_the_rendered_manifests_do_not_mention_helm() -> None:
    assert "helm" not in (ROOT / "manifests/install.yaml").read_text(encoding="utf-8").lower()


def test_the_operator_fits_the_namespace_that_it_is_given() -> None:
    documents = parsed((ROOT / "manifests/install.yaml").read_text(encoding="utf-8"))
    (namespace,), (deployment,) = of_kind(documents, "Namespace"), of_kind(documents, "Deployment")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert deployment["metadata"]["namespace"] == namespace["metadata"]["name"]
    assert restricted(deployment["spec"]["template"]["spec"]) == []


def test_volumes_on_kind_are_made_in_the_folder_that_its_nodes_share() -> None:
    kind = ROOT / "manifests/kind"
    cluster, change, storage = (
        yaml.safe_load((kind / f"{name}.yaml").read_text(encoding="utf-8"))
        for name in ("cluster", "shared-folder", "storage")
    )
    assert [node["role"] for node in cluster["nodes"]] == ["control-plane", "worker", "worker"]
    mounts = {(mount["hostPath"], mount["containerPath"]) for node in cluster["nodes"] for mount in node["extraMounts"]}
    ((_, shared),) = mounts
    assert json.loads(change["data"]["config.json"]) == {"sharedFileSystemPath": shared}
    demo = yaml.safe_load((ROOT / "manifests/examples/demo.yaml").read_text(encoding="utf-8"))
    assert demo["spec"]["storage"]["storageClassName"] == storage["metadata"]["name"]


def test_the_demo_and_its_failures_are_the_same_cluster() -> None:
    demo, *failing = (
        parsed((ROOT / f"manifests/examples/{name}.yaml").read_text(encoding="utf-8"))[0]
        for name in ("demo", "link-failure", "isolation")
    )
    for other in failing:
        assert other["metadata"] == demo["metadata"]
        assert other["spec"]["storage"] == demo["spec"]["storage"]
        assert other["spec"]["linkFailures"]
