"""What the mounts of HANAS_NFS_MOUNTS are."""

import re
from pathlib import Path

from tests.integration.places import MOUNTS


def options(mount: Path) -> str:
    """The options in force."""
    lines = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    return next(line[3] for line in lines if line[1] == str(mount))


def version() -> float:
    """The version of NFS."""
    found = re.search(r"\bvers=([\d.]+)", options(MOUNTS[0]))
    assert found, "no NFS mount"
    return float(found[1])
