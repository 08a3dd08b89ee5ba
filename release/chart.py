"""The chart as it is released: with the place of the images, packed, signed if there is a key, pushed."""

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import yaml

from release import tools
from release.images import Image, Order
from release.tools import ReleaseError

_NO_REGISTRY = re.compile(r'^registry: ""$', re.MULTILINE)


class Signature(NamedTuple):
    """How a chart is signed."""

    key: str
    """Name of the key."""
    keyring: Path
    """File with the secret key, as gpg exports it."""
    passphrase_file: Path | None


def helm() -> str:
    """Return where helm is."""
    return tools.path_of(os.environ.get("HELM", "helm"), "put helm 3 on PATH, or name it in $HELM")


def release(source: Path, folder: Path, images: list[Image], order: Order, signature: Signature | None) -> None:
    """Pack the chart into ``folder``, and push it beside the images if they are pushed."""
    program = helm()
    if signature is not None and not signature.keyring.is_file():
        raise ReleaseError(
            f"there is no keyring {signature.keyring}: gpg --export-secret-keys '{signature.key}' > {signature.keyring}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary, source.name)
        shutil.copytree(source, copy)
        if order.registry:
            place(copy, images, order.registry)
        tools.run([program, "package", str(copy), "--destination", str(folder), *_signing(signature)])
    metadata = yaml.safe_load((source / "Chart.yaml").read_text(encoding="utf-8"))
    if order.registry:
        packed = folder / f"{metadata['name']}-{metadata['version']}.tgz"
        insecure = ["--plain-http"] if order.plain_http else []
        tools.run([program, "push", str(packed), f"oci://{order.registry}/charts", *insecure])


def place(chart: Path, images: list[Image], registry: str) -> None:
    """Have the chart take its images from ``registry``, and tell Artifact Hub which ones there are."""
    values = chart / "values.yaml"
    text, count = _NO_REGISTRY.subn(f"registry: {registry}", values.read_text(encoding="utf-8"))
    if count != 1:
        raise ReleaseError(f'{values} has no line registry: ""')
    values.write_text(text, encoding="utf-8")
    used = [{"name": image.name, "image": f"{registry}/{image.tagged}"} for image in images]
    description = chart / "Chart.yaml"
    metadata = yaml.safe_load(description.read_text(encoding="utf-8"))
    metadata["annotations"]["artifacthub.io/images"] = yaml.safe_dump(used, sort_keys=False)
    description.write_text(yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _signing(signature: Signature | None) -> list[str]:
    if signature is None:
        return []
    options = ["--sign", "--key", signature.key, "--keyring", str(signature.keyring)]
    if signature.passphrase_file is not None:
        options += ["--passphrase-file", str(signature.passphrase_file)]
    return options
