"""The NFS export of the campaign: its faults are commands, and each is undone."""

from pathlib import Path

import pytest
from bench.faults import export
from bench.faults.export import Export


@pytest.fixture
def broken(tmp_path: Path) -> Export:
    """An export whose command writes down what it is told, and refuses to be slow."""
    mounts = [tmp_path / "a", tmp_path / "b"]
    for mount in mounts:
        mount.mkdir()
    command = tmp_path / "fault"
    command.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/told\n[ "$1" != slow ] || {{ echo no netem; exit 3; }}\n')
    command.chmod(0o755)
    return Export(mounts, [str(command)])


async def test_what_is_broken_is_mended_in_the_opposite_order(tmp_path: Path, broken: Export) -> None:
    await broken.fail("cut", "1")
    await broken.fail("server-reboot", "2")
    await broken.fail("full")
    await broken.fail("server-stop")
    await broken.mend()
    told = (tmp_path / "told").read_text().splitlines()
    assert told == ["cut 1", "server-reboot 2", "full", "server-stop", "server-start", "free", "heal 1"]
    assert [list(mount.iterdir()) for mount in broken.mounts] == [[], []], "the trial of the mounts is removed"
    await broken.mend()
    assert (tmp_path / "told").read_text().splitlines() == told, "once"


async def test_a_command_that_fails_is_told(broken: Export) -> None:
    with pytest.raises(OSError, match="slow all 100: no netem"):
        await broken.fail("slow", "all", "100")


def test_mounts_are_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HANAS_NFS_MOUNTS", raising=False)
    assert export.mounts() == []
    monkeypatch.setenv("HANAS_NFS_MOUNTS", f"{tmp_path}:{tmp_path}")
    assert export.mounts() == [tmp_path, tmp_path]
    assert not Export(export.mounts()).is_soft()
    for wrong in ("3", f"{tmp_path}/none"):
        monkeypatch.setenv("HANAS_NFS_MOUNTS", wrong)
        with pytest.raises(SystemExit, match="separate mounts by colons"):
            export.mounts()
