"""How much memory this process may use: that of the machine, or what its control groups (v1, v2) allow."""

import contextlib
import os
from pathlib import Path

_GROUPS = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")


def memory_limit(groups: Path = _GROUPS, mount: Path = _MOUNT) -> int:
    """Return bytes."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    try:
        lines = groups.read_text().splitlines()
    except OSError:  # not on Linux
        lines = []
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            limits += _limits(mount, path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits(mount / "memory", path, "memory.limit_in_bytes")
    return min(limits)


def _limits(mount: Path, path: str, name: str) -> list[int]:
    """Return the limits of a group and of all above it, as far as they are seen here."""
    limits = []
    group = mount / path.lstrip("/")
    for place in (group, *group.parents):
        if place.is_relative_to(mount):
            with contextlib.suppress(OSError, ValueError):  # not there, as at the root; "max" is no number
                limits.append(int((place / name).read_text()))
    return limits
