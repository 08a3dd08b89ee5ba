"""The commands that a person runs on a volume first: the check of the folder, and the demo."""

import asyncio
import os
import re
from pathlib import Path

import pytest
from bench.faults.pulse import Pauses

from hanas_core.members.timing import PRESETS
from tests.integration.places import MOUNTS, PRESET
from tests.integration.programs import COMMANDS

_TRIES = 3
_NEW_MAIN = re.compile("Failed: (the epoch is still|[a-z0-9-]+ redirects to)")


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


@pytest.mark.timeout(1200)
async def test_the_demo(tmp_path: Path) -> None:
    """A machine that stands still for longer than a main may be silent makes takeovers of its own: then once more."""
    mounts = [f"--mount={mount}" for mount in MOUNTS[:3]]
    for number in range(_TRIES):
        pauses = Pauses()
        noting = asyncio.create_task(pauses.note())
        code, said = await hanas("demo", "--preset", PRESET, "--directory", tmp_path / str(number), *mounts)
        noting.cancel()
        print(f"{said}\nthis machine paused for {pauses.longest:.3f} s")
        if code == 0:
            assert "All checks passed." in said
            return
        assert _NEW_MAIN.search(said), said
        assert pauses.longest > PRESETS[PRESET].suspect_after, said
    raise AssertionError(f"this machine paused in each of {_TRIES} demos")
