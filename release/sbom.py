"""Bills of materials (CycloneDX) of the images: the Python packages in them, each with its hashes."""

import sys
from pathlib import Path

from release import tools
from release.images import Image


def write(root: Path, folder: Path, images: list[Image]) -> None:
    """Write the bill of each image. The base image, Debian's Python, is not in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        tools.run(line(root, folder, image))


def line(root: Path, folder: Path, image: Image) -> list[str]:
    """Return the command for one bill. The image `hanas` has the worker's packages, as a test of the images checks."""
    packages = "worker" if image.target == "hanas" else image.target
    return [
        *(sys.executable, "-m", "cyclonedx_py", "requirements", str(root / f"requirements/{packages}.txt")),
        *("--pyproject", str(root / "pyproject.toml"), "--mc-type", "application", "--output-reproducible"),
        *("--validate", "--output-format", "JSON", "--output-file"),
        str(folder / f"{image.name}-{image.version}.cdx.json"),
    ]
