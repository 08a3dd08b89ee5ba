"""The commands that a person runs on a volume first: the check of the folder, and the demo."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.integration.places import MOUNTS, PRESET
from tests.integration.programs import COMMANDS


async def hanas(*arguments: str | Path) -> tuple[int, str]:
    """The exit code of the command, and what it said."""
    process = await asyncio.create_subprocess_exec(
        COMMANDS / "hanas",
        *arguments,
        env=os.environ | {"COLUMNS": "200"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_the_volume_is_fit_from_every_mount_to_every_other_one(tmp_path: Path) -> None:
    for mount, other in zip(MOUNTS, MOUNTS[1:] + MOUNTS[:1], strict=True):
        code, said = await hanas("check-folder", mount, other)
        assert code == 0, said
        assert said.count("\tkept\t") == 6, said


@pytest.mark.timeout(400)
async def test_the_demo(tmp_path: Path) -> None:
    mounts = [f"--mount={mount}" for mount in MOUNTS[:3]]
    code, said = await hanas("demo", "--preset", PRESET, "--directory", tmp_path, *mounts)
    print(said)
    assert code == 0, said
    assert "All checks passed." in said
