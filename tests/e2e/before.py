"""An earlier version of this project: its chart, and its images beside those of this tree."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.cluster import TARGETS, Cluster
from tests.e2e.commands import ROOT, CommandFailed, run

COMMIT = os.environ.get("HANAS_E2E_UPGRADE_FROM") or "67a6ef313e9c"
"""By default the last one whose operator had one replica, no `status.image` and no `spec.clients`: 0.1.0."""
SUFFIX = "-before"
"""Of the tag of its images."""


@contextmanager
def chart(cluster: Cluster) -> Iterator[str]:
    """Yield its chart. On kind its images are made; on a cluster of KUBECONFIG they must be there."""
    with tempfile.TemporaryDirectory() as folder:
        _check_out(Path(folder))
        if cluster.nodes is not None:
            images = {target: f"{TARGETS[target]}:{cluster.tag}{SUFFIX}" for target in ("hanas", "operator")}
            for target, image in images.items():
                build = ("docker", "build", "--quiet", "--network", "host", "--target", target, "--tag", image, folder)
                run(*build, seconds=900)
            run("kind", "load", "docker-image", "--name", cluster.nodes.name, *images.values(), seconds=600)
        yield f"{folder}/charts/hanas"


def _check_out(folder: Path) -> None:
    """Write the files of the commit."""
    archive = folder / ".archive"
    try:
        run("git", "archive", "--output", str(archive), "--format", "tar", COMMIT)
    except CommandFailed as error:
        raise AssertionError(f"{COMMIT} is not in {ROOT}: fetch it, or set HANAS_E2E_UPGRADE_FROM ({error})") from None
    run("tar", "--extract", "--file", str(archive), "--directory", str(folder))
    archive.unlink()
