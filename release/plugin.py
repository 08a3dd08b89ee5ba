"""`kubectl hanas` as one program that needs no Python, and the manifest by which Krew installs it.

PyInstaller makes it, for the platform that it runs on: a release for others is made there, too.
"""

import hashlib
import platform
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import yaml

from release import tools
from release.tools import ReleaseError

PROGRAM = "kubectl-hanas"
_ROOMS = ("core", "serving", "client")
"""The folders of the packages that it consists of."""
_START = "import sys\n\nfrom hanas_client.kubectl.program import main\n\nsys.exit(main())\n"
_MACHINES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_DESCRIPTION = """\
Shows who is the main of a HANas, why there was a takeover, and which links have failed; hands over to another worker,
cuts and heals links, and makes backups. It needs the operator of HANas in the cluster.
"""


def here() -> tuple[str, str]:
    """Return the platform of this machine, in the words of Go. Raises ReleaseError."""
    machine = platform.machine()
    if machine not in _MACHINES:
        raise ReleaseError(f"there is no kubectl plugin for {machine}: make it on {', '.join(sorted(_MACHINES))}")
    return sys.platform, _MACHINES[machine]


def build(root: Path, folder: Path, version: str) -> Path:
    """Write the archive with the program; return its place. Raises ReleaseError."""
    system, machine = here()
    with tempfile.TemporaryDirectory() as temporary:
        start = Path(temporary, f"{PROGRAM}.py")
        start.write_text(_START, encoding="utf-8")
        tools.run(line(root, Path(temporary), start))
        folder.mkdir(parents=True, exist_ok=True)
        archive = folder / f"{PROGRAM}-{version}-{system}-{machine}.tar.gz"
        with tarfile.open(archive, "w:gz") as packed:
            packed.add(Path(temporary, "dist", PROGRAM), PROGRAM)
            packed.add(root / "LICENSE", "LICENSE")
    return archive


def line(root: Path, folder: Path, start: Path) -> list[str]:
    """Return the command that makes the program in ``folder``/dist."""
    places = {"--distpath": folder / "dist", "--workpath": folder / "work", "--specpath": folder}
    options = [word for name, place in places.items() for word in (name, str(place))]
    paths = [f"--paths={root / room}" for room in _ROOMS]
    # obstore is for archives in S3, which the plugin leaves to the Job of a HANasBackup.
    quiet = ["--log-level=WARN", "--exclude-module=obstore", "--copy-metadata=hanas"]
    return [sys.executable, "-m", "PyInstaller", "--onefile", f"--name={PROGRAM}", *quiet, *paths, *options, str(start)]


def write_manifest(path: Path, archives: list[Path], version: str, downloads: str) -> None:
    """Write the manifest for Krew. ``downloads``: the URL below which the archives will lie."""
    manifest = {
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": "hanas"},
        "spec": {
            "version": f"v{version}",
            "shortDescription": "See and steer HANas key-value stores",
            "description": _DESCRIPTION,
            "platforms": [_platform(archive, version, downloads) for archive in archives],
        },
    }
    path.write_text(yaml.safe_dump(manifest, sort_keys=False, width=120), encoding="utf-8")


def _platform(archive: Path, version: str, downloads: str) -> dict[str, Any]:
    system, machine = archive.name.removeprefix(f"{PROGRAM}-{version}-").removesuffix(".tar.gz").split("-")
    with archive.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return {
        "selector": {"matchLabels": {"os": system, "arch": machine}},
        "uri": f"{downloads.rstrip('/')}/{archive.name}",
        "sha256": digest,
        "bin": PROGRAM,
        "files": [{"from": name, "to": "."} for name in (PROGRAM, "LICENSE")],
    }
