"""YAML documents, and what is wrong with them by the schemas of Kubernetes and of the HANas resource."""

import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from hanas_operator import crd
from tests.unit.operator import schemas

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts/hanas"
OLDEST: str = re.findall(
    r'(?m)^kubeVersion: ">=([0-9]+[.][0-9]+)[.]0-0"$', (CHART / "Chart.yaml").read_text(encoding="utf-8")
)[0]
NEWEST = "1.37"
"""The newest version of Kubernetes of which there are schemas here."""
Document = dict[str, Any]
_HARMLESS_VOLUMES = {"configMap", "emptyDir", "projected", "secret", "persistentVolumeClaim"}
_FOREIGN = {"monitoring.coreos.com/v1", "kind.x-k8s.io/v1alpha4"}


def parsed(text: str) -> list[Document]:
    """The documents that are not empty."""
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(documents: Iterable[Document], kind: str) -> list[Document]:
    return [document for document in documents if document["kind"] == kind]


def errors(document: Document) -> list[str]:
    """What the oldest and the newest API server would say, as far as schemas tell; unknown fields are wrong too."""
    if document["apiVersion"] == crd.API_VERSION:
        definition = next(each for each in crd.definitions() if each["spec"]["names"]["kind"] == document["kind"])
        whole = json.loads(json.dumps(definition))["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        schema = whole["properties"]["spec"]
        spec = schemas.with_defaults(schema, document.get("spec", {}))
        return schemas.errors(schema, spec, "spec")
    if document["apiVersion"] in _FOREIGN:
        return []
    return [words for version in (OLDEST, NEWEST) if (words := _error(document, version))]


def _error(document: Document, version: str) -> str:
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}"
    return ""


def named(document: Document) -> str:
    return f"{document['kind']} {document.get('metadata', {}).get('name', document.get('name'))}"


def assert_valid(documents: Iterable[Document]) -> None:
    wrong = {named(document): found for document in documents if (found := errors(document))}
    assert not wrong, wrong


def restricted(pod: Document) -> list[str]:
    """What the Pod Security standard `restricted` (and our own rule of a read-only root) would say to a pod's spec."""
    found = []
    security = pod.get("securityContext", {})
    if security.get("runAsNonRoot") is not True or security.get("runAsUser") == 0:
        found.append("runs as root")
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        found.append("no seccomp profile")
    if any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
        found.append("shares the node's namespaces")
    kinds = {kind for volume in pod.get("volumes", []) for kind in volume if kind != "name"}
    found += [f"volume {kind}" for kind in kinds - _HARMLESS_VOLUMES]
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False or own.get("capabilities") != {"drop": ["ALL"]}:
            found.append(f"{container['name']}: may gain privileges")
        if own.get("readOnlyRootFilesystem") is not True:
            found.append(f"{container['name']}: writable root")
    return found


@pytest.fixture(scope="session")
def helm() -> str:
    """The helm command, from $HELM or PATH."""
    found = shutil.which(os.environ.get("HELM", "helm"))
    if found is None:
        pytest.skip("there is no helm here (PATH, $HELM): the chart is not rendered")
    return found
