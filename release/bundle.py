"""The operator as a bundle of the Operator Lifecycle Manager: what `manifests/install.yaml` has, in OLM's format.

OLM makes the service account, the Deployment and the rights from the ClusterServiceVersion, in whatever namespace it is
told to; the rest it applies as it is.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from release.images import Image

Document = dict[str, Any]
PACKAGE, CHANNEL, NAMESPACE = "hanas", "alpha", "hanas-system"
_OPERATOR = "hanas-operator"
_APPLIED = ("PodDisruptionBudget", "PriorityClass", "ClusterRole", "Service")
"""What OLM applies besides. It has no NetworkPolicies of bundles in the versions that are in use."""
_ANNOTATIONS = {
    "operators.operatorframework.io.bundle.mediatype.v1": "registry+v1",
    "operators.operatorframework.io.bundle.manifests.v1": "manifests/",
    "operators.operatorframework.io.bundle.metadata.v1": "metadata/",
    "operators.operatorframework.io.bundle.package.v1": PACKAGE,
    "operators.operatorframework.io.bundle.channels.v1": CHANNEL,
    "operators.operatorframework.io.bundle.channel.default.v1": CHANNEL,
}
_MODES = {"OwnNamespace": False, "SingleNamespace": False, "MultiNamespace": False, "AllNamespaces": True}


def write(root: Path, folder: Path, images: list[Image], registry: str, created: str) -> None:
    """Write the bundle into ``folder``: manifests, metadata, and the Dockerfile of its image.

    ``root``: the repository. ``registry``: where the images are; empty: on the nodes. ``created``: a time.
    """
    documents = [each for each in yaml.safe_load_all(_read(root / "manifests/install.yaml")) if each]
    manifests = folder / "manifests"
    for place in (manifests, folder / "metadata"):
        place.mkdir(parents=True, exist_ok=True)
    for document in documents:
        name, kind = document["metadata"]["name"], document["kind"]
        if kind == "CustomResourceDefinition" or (kind in _APPLIED and (kind, name) != ("ClusterRole", _OPERATOR)):
            _write(manifests / f"{name}.{kind.lower()}.yaml", _without_namespace(document))
    service_version = _service_version(root, documents, images, registry, created)
    _write(manifests / f"{PACKAGE}.clusterserviceversion.yaml", service_version)
    _write(folder / "metadata/annotations.yaml", {"annotations": _ANNOTATIONS})
    labels = "".join(f"LABEL {name}={value}\n" for name, value in _ANNOTATIONS.items())
    (folder / "Dockerfile").write_text(f"FROM scratch\n{labels}COPY manifests /manifests/\nCOPY metadata /metadata/\n")


def _service_version(
    root: Path, documents: list[Document], images: list[Image], registry: str, created: str
) -> Document:
    chart = yaml.safe_load(_read(root / "charts/hanas/Chart.yaml"))
    examples = [yaml.safe_load(_read(root / f"manifests/examples/{name}.yaml")) for name in ("minimal", "demo")]
    examples += yaml.safe_load_all(_read(root / "manifests/examples/link-failure-object.yaml"))
    backups = yaml.safe_load_all(_read(root / "manifests/examples/backup.yaml"))
    examples += [each for each in backups if each["kind"] != "HANas"]
    deployment = _of(documents, "Deployment", _OPERATOR)
    version = images[0].version
    named = {image.target: f"{registry}/{image.tagged}" if registry else image.tagged for image in images}
    rights = {"serviceAccountName": _OPERATOR}
    media, _, content = chart["icon"].removeprefix("data:").partition(";base64,")
    return {
        "apiVersion": "operators.coreos.com/v1alpha1",
        "kind": "ClusterServiceVersion",
        "metadata": {
            "name": f"{PACKAGE}.v{version}",
            "annotations": {
                "alm-examples": json.dumps(examples, indent=2),
                "capabilities": chart["annotations"]["artifacthub.io/operatorCapabilities"],
                "categories": "Database, Storage",
                "containerImage": named["operator"],
                "createdAt": created,
                "description": chart["description"],
                "operatorframework.io/suggested-namespace": NAMESPACE,
            },
        },
        "spec": {
            "displayName": "HANas",
            "description": _read(root / "charts/hanas/README.md"),
            "version": version,
            "maturity": CHANNEL,
            "minKubeVersion": chart["kubeVersion"].removeprefix(">=").removesuffix("-0"),
            "keywords": chart["keywords"],
            "provider": {"name": "HANas"},
            "icon": [{"mediatype": media, "base64data": content}],
            "installModes": [{"type": mode, "supported": supported} for mode, supported in _MODES.items()],
            "customresourcedefinitions": {"owned": [_owned(each, chart) for each in _all(documents, _DEFINITION)]},
            "install": {
                "strategy": "deployment",
                "spec": {
                    "clusterPermissions": [
                        {**rights, "rules": _of(documents, "ClusterRole", _OPERATOR)["rules"]},
                    ],
                    "permissions": [{**rights, "rules": _of(documents, "Role", f"{_OPERATOR}-lease")["rules"]}],
                    "deployments": [{"name": _OPERATOR, "spec": _anywhere(deployment["spec"], named)}],
                },
            },
        },
    }


_DEFINITION = "CustomResourceDefinition"


def _owned(definition: Document, chart: Document) -> Document:
    """Return how OLM names a definition, in the words of the chart."""
    (told,) = (
        each
        for each in yaml.safe_load(chart["annotations"]["artifacthub.io/crds"])
        if each["name"] == definition["metadata"]["name"]
    )
    return {field: told[field] for field in ("name", "kind", "version", "displayName", "description")}


def _anywhere(spec: Document, named: dict[str, str]) -> Document:
    """Return the spec of the Deployment for these images, and for whatever namespace OLM puts it into."""
    template = spec["template"]
    (container,) = template["spec"]["containers"]
    own = {"name": "OWN_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}
    values = {"HANAS_IMAGE": named["hanas"], "HANAS_LEASE": f"$(OWN_NAMESPACE)/{_OPERATOR}"}
    environment = [
        {**each, "value": values[each["name"]]} if each["name"] in values else each for each in container["env"]
    ]
    changed = {**container, "image": named["operator"], "env": [own, *environment]}
    return {**spec, "template": {**template, "spec": {**template["spec"], "containers": [changed]}}}


def _all(documents: list[Document], kind: str) -> list[Document]:
    return [each for each in documents if each["kind"] == kind]


def _of(documents: list[Document], kind: str, name: str) -> Document:
    (document,) = (each for each in _all(documents, kind) if each["metadata"]["name"] == name)
    return document


def _without_namespace(document: Document) -> Document:
    metadata = {field: value for field, value in document["metadata"].items() if field != "namespace"}
    return {**document, "metadata": metadata}


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _write(path: Path, content: Document) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")
