"""The memory that this process may use, by the files of control groups."""

import os
from pathlib import Path

import pytest

from hanas_serving.machine import memory_limit

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("", {}, MACHINE),
        ("0::/\n", {"memory.max": "1000\n"}, 1000),
        ("0::/\n", {"memory.max": "max\n"}, MACHINE),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "2000\n", "memory.max": "3000\n"}, 2000),
        ("0::/not/here\n", {}, MACHINE),
        ("4:cpu,memory:/a\n1:name=systemd:/\n", {"memory/a/memory.limit_in_bytes": "4000\n"}, 4000),
        ("4:memory:/docker/x\n", {"memory/memory.limit_in_bytes": "5000\n"}, 5000),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, MACHINE),
    ],
)
def test_the_least_limit_counts(tmp_path: Path, groups: str, files: dict[str, str], limit: int) -> None:
    write(tmp_path / "cgroup", groups)
    for name, content in files.items():
        write(tmp_path / "sys" / name, content)
    assert memory_limit(tmp_path / "cgroup", tmp_path / "sys") == limit


def test_without_control_groups_the_machine_counts(tmp_path: Path) -> None:
    assert memory_limit(tmp_path / "none", tmp_path) == MACHINE
    assert 0 < memory_limit() <= MACHINE
