"""manifests/: up to date with the chart and the operator, and valid."""

import json
from pathlib import Path

import pytest
import yaml
from manifests import render

from hanas_operator import crd
from tests.unit.packaging.documents import ROOT, assert_valid, of_kind, parsed, restricted

FILES = sorted(
    path.relative_to(ROOT)
    for path in (ROOT / "manifests").rglob("*.yaml")
    if path.name not in {"cluster.yaml", "shared-folder.yaml"}  # kind's own, and a change of an object
)


def test_what_is_derived_is_up_to_date() -> None:
    assert render.differences() == [], "run: python manifests/render.py"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_manifest_is_valid(file: Path) -> None:
    documents = parsed((ROOT / file).read_text(encoding="utf-8"))
    assert documents
    assert_valid(documents)


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
