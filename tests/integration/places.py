"""Where a cluster of the tests has its folder, and with which preset: options, by environment variables.

HANAS_NFS_MOUNTS: mounts of one NFS export, separated by colons. What is tested on them runs with a temporary directory
(`--basetemp`) below the last one, and worker N uses the same directory by mount N.
"""

import os
from pathlib import Path

from bench.faults import export

from hanas_core.members.timing import PRESETS
from hanas_lab.hosts import Host, on_mounts
from tests.integration.waiting import SLOWNESS

PRESET = os.environ.get("HANAS_TEST_PRESET", "lan")
PATIENT = {
    "HANAS_SUSPECT_AFTER": str(max(1.0, PRESETS[PRESET].suspect_after) * SLOWNESS),
    "HANAS_PROBE_TIMEOUT": str(max(1.0, PRESETS[PRESET].probe_timeout) * SLOWNESS),
}
"""For a cluster whose main must stay the main: a busy machine may take half a second from it, as if it were paused."""
MOUNTS = export.mounts()


def hosts_of(directory: Path, workers: int) -> dict[str, Host] | None:
    """The hosts of a lab in `directory`: each with a mount of its own if the directory is on one, else None."""
    if not MOUNTS or not directory.is_relative_to(MOUNTS[-1]):
        return None
    return on_mounts(MOUNTS, str(directory.relative_to(MOUNTS[-1]) / "communication"), workers)
