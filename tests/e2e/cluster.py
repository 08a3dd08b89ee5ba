"""The cluster that the tests run on: that of KUBECONFIG, or one of kind, made and removed as any user does it."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.commands import ROOT, CommandFailed, run
from tests.e2e.kubectl import Kubectl
from tests.e2e.waiting import eventually

NAME = "hanas-e2e"
TARGETS = {"hanas": "hanas", "operator": "hanas-operator", "client": "hanas-client"}
"""Targets of the Dockerfile, and the repositories of their images."""
_S3 = "hanas-e2e-s3"
"""The repository of the image with a server of S3, tests/e2e/s3."""
_REPOSITORIES = {**TARGETS, "s3": _S3}
NODE_IMAGE, NETWORKING, KEEP = "HANAS_E2E_NODE_IMAGE", "HANAS_E2E_NETWORKING", "HANAS_E2E_KEEP"
REGISTRY, TAG, STORAGE_CLASS = "HANAS_E2E_REGISTRY", "HANAS_E2E_TAG", "HANAS_E2E_STORAGE_CLASS"
_SHARED = "/tmp/hanas-kind"
"""The folder of this machine that manifests/kind/cluster.yaml mounts into the nodes."""


class NoCluster(Exception):
    """There is no cluster, and none can be made; the text says what to do."""


@dataclass(frozen=True)
class Cluster:
    """A cluster with the images of this tree."""

    kubectl: Kubectl
    storage_class: str | None
    """A class that allows ReadWriteMany; None: the cluster's default one."""
    registry: str
    tag: str
    nodes: "Nodes | None"
    """None: the nodes are somebody else's, and nobody may pull their plugs."""

    def image(self, target: str) -> str:
        """The name of an image, as pods name it."""
        return f"{self.registry}{_REPOSITORIES[target]}:{self.tag}"


@dataclass(frozen=True)
class Nodes:
    """The nodes of a kind cluster: containers, which can be killed and cut off."""

    name: str

    def kill(self, node: str) -> None:
        """Cut a node's power."""
        run("docker", "kill", node)

    def start(self, node: str) -> None:
        """Give a node its power again."""
        run("docker", "start", node)

    def cut_off(self, node: str) -> None:
        """Pull a node's network cable: nothing comes in and nothing goes out, of its pods neither.

        Not by `docker network disconnect`: plugged in again, the node would have another address. Before and after all
        other rules, so that none of them has a say.
        """
        run("docker", "exec", node, "nft", _CUT)

    def plug_in(self, node: str) -> None:
        """Plug it in again."""
        run("docker", "exec", node, "nft", "delete table inet cable")

    def __iter__(self) -> Iterator[str]:
        return iter(run("kind", "get", "nodes", "--name", self.name).split())

    @contextmanager
    def small_volume(self, mib: int) -> Iterator[str]:
        """A file system of so many MiB that all nodes have mounted; yields where."""
        first, *others = self
        point = f"/var/hanas-small-{os.urandom(3).hex()}"
        image = f"{point}.img"
        make = f"truncate --size {mib}M {image} && mkfs.ext4 -q -m 0 {image} && losetup --find --show {image}"
        device = run("docker", "exec", first, "sh", "-c", make).strip()
        mount = f"mkdir {point} && mount {device} {point} && chmod 777 {point}"
        try:
            for node in (first, *others):  # one file system: it is the same device of the same kernel
                run("docker", "exec", node, "sh", "-c", mount)
            yield point
        finally:
            for node in (first, *others):
                run("docker", "exec", node, "sh", "-c", f"umount --lazy {point} && rmdir {point}")
            run("docker", "exec", first, "sh", "-c", f"losetup --detach {device}; rm {image}")


_CUT = """
table inet cable {
    chain entering { type filter hook prerouting priority -500; iifname eth0 drop; }
    chain leaving { type filter hook postrouting priority 500; oifname eth0 drop; }
}
"""


@contextmanager
def found() -> Iterator[Cluster]:
    """Yield the cluster of KUBECONFIG, or one of kind. Raises NoCluster."""
    for command in ("kubectl", "helm"):
        if shutil.which(command) is None:
            raise NoCluster(f"there is no {command} here: install it and put it on the PATH")
    if "KUBECONFIG" in os.environ:
        yield _existing(Path(os.environ["KUBECONFIG"]))
        return
    with _kind() as cluster:
        yield cluster


def _existing(kubeconfig: Path) -> Cluster:
    kubectl = Kubectl(kubeconfig)
    if not kubectl.answers():
        raise NoCluster(f"KUBECONFIG={kubeconfig}: no API server answers")
    registry = os.environ.get(REGISTRY, "")
    return Cluster(
        kubectl,
        os.environ.get(STORAGE_CLASS),
        f"{registry.rstrip('/')}/" if registry else "",
        os.environ.get(TAG, "e2e"),
        None,
    )


@contextmanager
def _kind() -> Iterator[Cluster]:
    for command in ("docker", "kind"):
        if shutil.which(command) is None:
            raise NoCluster(
                f"there is no {command} here: install Docker and kind, or set KUBECONFIG to the cluster to be used"
            )
    try:
        run("docker", "version")
    except CommandFailed as error:
        raise NoCluster(f"no Docker engine answers; start it, or set KUBECONFIG: {error}") from error
    shared = Path(tempfile.gettempdir()) / NAME
    kubeconfig = shared / "kubeconfig"
    try:
        if NAME not in run("kind", "get", "clusters").split():
            _create(shared, kubeconfig)
        _images()
        yield Cluster(Kubectl(kubeconfig), "hanas-shared", "", "e2e", Nodes(NAME))
    finally:
        if not os.environ.get(KEEP):
            run("kind", "delete", "cluster", "--name", NAME, seconds=120)
            shutil.rmtree(shared, ignore_errors=True)


def _create(shared: Path, kubeconfig: Path) -> None:
    shared.mkdir(exist_ok=True)
    config = shared / "cluster.yaml"
    written = (ROOT / "manifests/kind/cluster.yaml").read_text(encoding="utf-8")
    networking = os.environ.get(NETWORKING)
    written += f"networking: {networking}\n" if networking else ""
    config.write_text(written.replace(_SHARED, str(shared / "volumes")), encoding="utf-8")
    image = os.environ.get(NODE_IMAGE)
    words = ["--image", image] if image else []
    run(
        *("kind", "create", "cluster", "--name", NAME, "--config", str(config), "--kubeconfig", str(kubeconfig)),
        *("--wait", "120s", *words),
        seconds=600,
    )
    kubectl = Kubectl(kubeconfig, "local-path-storage")
    kubectl("patch", "configmap", "local-path-config", "--patch-file", "manifests/kind/shared-folder.yaml")
    kubectl("apply", "--filename", "manifests/kind/storage.yaml")
    kubectl("rollout", "restart", "deployment/local-path-provisioner")
    kubectl("rollout", "status", "deployment/local-path-provisioner", "--timeout", "120s", seconds=130)
    eventually("every node is ready", lambda: _ready(kubectl))


def _ready(kubectl: Kubectl) -> bool:
    conditions = [condition for node in kubectl.list("nodes") for condition in node["status"].get("conditions", [])]
    states = [condition["status"] for condition in conditions if condition["type"] == "Ready"]
    return bool(states) and set(states) == {"True"}


def _images() -> None:
    images = []
    for target, repository in TARGETS.items():
        images.append(f"{repository}:e2e")
        build = ("docker", "build", "--quiet", "--network", "host", "--target", target, "--tag", images[-1], ".")
        run(*build, seconds=900)
    images.append(f"{_S3}:e2e")
    run("docker", "build", "--quiet", "--network", "host", "--tag", images[-1], "tests/e2e/s3", seconds=300)
    # The same content under another name: what a rolling update goes to.
    run("docker", "tag", "hanas:e2e", "hanas:e2e-next")
    begun = time.monotonic()
    run("kind", "load", "docker-image", "--name", NAME, *images, "hanas:e2e-next", seconds=600)
    print(f"images loaded in {time.monotonic() - begun:.0f} s")
