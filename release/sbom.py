"""Bills of materials (CycloneDX) of the images: the Python packages in them, each with its hashes."""

import re
import sys
import tempfile
from pathlib import Path

from release import tools
from release.images import Image

_PIN = re.compile(r"^\w.*\n(?: .*\n)*", re.MULTILINE)
"""A package with its hashes, on the lines below it, and a comment, who needs it."""


def write(root: Path, folder: Path, images: list[Image]) -> None:
    """Write the bill of each image. The base image, Debian's Python, is not in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        for image in images:
            file.seek(0)
            file.truncate()
            file.write(packages(root, image))
            file.flush()
            tools.run(line(root, folder, image, file.name))


def packages(root: Path, image: Image) -> str:
    """Return the pinned packages in an image, in the format of pip. What several lists have is in it once."""
    lists = ("worker", "client") if image.target == "hanas" else (image.target,)
    texts = [(root / f"requirements/{name}.txt").read_text(encoding="utf-8") for name in lists]
    pins = {pin.partition("\n")[0]: pin for text in texts for pin in _PIN.findall(text)}
    return "".join(pins.values())


def line(root: Path, folder: Path, image: Image, requirements: str) -> list[str]:
    """Return the command for one bill."""
    return [
        *(sys.executable, "-m", "cyclonedx_py", "requirements", requirements),
        *("--pyproject", str(root / "pyproject.toml"), "--mc-type", "application", "--output-reproducible"),
        *("--validate", "--output-format", "JSON", "--output-file"),
        str(folder / f"{image.name}-{image.version}.cdx.json"),
    ]
