"""The images, each for all platforms in one OCI archive, built by docker's buildx or by buildah."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from release import tools
from release.tools import ReleaseError

TARGETS = ("hanas", "operator", "client", "worker", "overseer")
"""The targets of the Dockerfile that are images."""
Line = tuple[str, ...]


class Image(NamedTuple):
    """One image of a release."""

    target: str
    version: str

    @property
    def name(self) -> str:
        """The name of its repository."""
        return self.target if self.target == "hanas" else f"hanas-{self.target}"

    @property
    def tagged(self) -> str:
        """Name and tag."""
        return f"{self.name}:{self.version}"

    def archive(self, folder: Path) -> Path:
        """Return the place of its OCI archive."""
        return folder / f"{self.name}-{self.version}.oci.tar"


class Order(NamedTuple):
    """How images are built."""

    root: Path
    """The folder of the Dockerfile."""
    folder: Path
    """Where the archives go."""
    platforms: str
    """Such as linux/amd64,linux/arm64."""
    revision: str
    registry: str
    """Where images are pushed to; empty: nowhere."""
    plain_http: bool
    """Whether the registry speaks no TLS, as local ones."""
    options: Line
    """More options of the builder."""


def builder() -> Callable[[Image, Order], Iterator[Line]]:
    """Return the commands of the builder that is here."""
    if tools.succeeds("docker", "buildx", "version"):
        return buildx
    if tools.succeeds("buildah", "--version"):
        return buildah
    raise ReleaseError("there is neither docker with its plugin buildx here, nor buildah: install one of them")


def build(order: Order, version: str) -> list[Image]:
    """Build all images, and push them to the registry if there is one."""
    commands = builder()
    order.folder.mkdir(parents=True, exist_ok=True)
    images = [Image(target, version) for target in TARGETS]
    for image in images:
        image.archive(order.folder).unlink(missing_ok=True)
        if commands is buildah:
            tools.succeeds("buildah", "manifest", "rm", image.tagged)  # of an earlier try: it would be added to
        for line in commands(image, order):
            tools.run(line)
    return images


def buildx(image: Image, order: Order) -> Iterator[Line]:
    """Yield the commands for docker: its cache makes the second build a mere push."""
    common = ("docker", "buildx", "build", f"--platform={order.platforms}", *_common(image, order))
    yield (*common, f"--output=type=oci,dest={image.archive(order.folder)}", str(order.root))
    if order.registry:
        insecure = ",registry.insecure=true" if order.plain_http else ""
        yield (*common, f"--output=type=registry,name={order.registry}/{image.tagged}{insecure}", str(order.root))


def buildah(image: Image, order: Order) -> Iterator[Line]:
    """Yield the commands for buildah, which keeps the images of all platforms in a manifest."""
    platforms = f"--platform={order.platforms}"
    yield (
        *("buildah", "build", platforms, f"--manifest={image.tagged}", "--format=oci"),
        *(*_common(image, order), str(order.root)),
    )
    push = ("buildah", "manifest", "push", "--all")
    yield (*push, image.tagged, f"oci-archive:{image.archive(order.folder)}")
    if order.registry:
        insecure = ("--tls-verify=false",) if order.plain_http else ()
        yield (*push, *insecure, image.tagged, f"docker://{order.registry}/{image.tagged}")


def _common(image: Image, order: Order) -> Line:
    return (
        f"--target={image.target}",
        f"--build-arg=VERSION={image.version}",
        f"--build-arg=REVISION={order.revision}",
        *order.options,
    )
