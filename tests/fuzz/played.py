"""The descriptions in docs/openapi, played by schemathesis in a process of its own against one address."""

import asyncio
import os
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec

from tests.fuzz.facts import FACTS_VARIABLE, Facts

ROOT = Path(__file__).parents[2]
_COMMAND = Path(sys.executable).parent / "schemathesis"
_SETTINGS = Path(__file__).with_name("schemathesis.toml")


class Target(NamedTuple):
    """An address, its description, and the token that opens it."""

    description: str
    url: str
    token: str
    more: tuple[str, ...] = ()
    """More options for schemathesis."""


async def play(target: Target, facts: Facts, examples: int, seed: int) -> str | None:
    """Send all that can be made of a description, `examples` for each call and about as many edge cases.

    Return what schemathesis found wrong, None if nothing.
    """
    process = await asyncio.create_subprocess_exec(
        _COMMAND,
        f"--config-file={_SETTINGS}",
        "run",
        str(ROOT / "docs" / "openapi" / f"{target.description}.yaml"),
        f"--url={target.url}",
        f"--header=Authorization: Bearer {target.token}",
        f"--max-examples={examples}",
        f"--seed={seed}",
        "--continue-on-failure",
        *target.more,
        cwd=Path(facts.journal).parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), FACTS_VARIABLE: msgspec.json.encode(facts).decode()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return None if process.returncode == 0 else said.decode()
