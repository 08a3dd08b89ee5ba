"""The installed commands as a person starts them: with a few variables, in some directory."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hanas_lab import ports
from tests.integration.waiting import PATIENCE_SECONDS, within

COMMANDS = Path(sys.executable).parent
SHARES = 8
"""Processes that test at the same time have ports of their own: a free one may be another's that is down or starts."""


@dataclass
class Program:
    """A running command; `said` grows with what it writes to its standard error."""

    process: asyncio.subprocess.Process
    said: list[str] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def listen(self) -> None:
        """Collect the lines until there are no more."""
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            async with self._news:
                self.said.append(line.decode().rstrip("\n"))
                self._news.notify_all()

    async def says(self, words: str) -> str:
        """Wait for a line with these words."""

        async def heard() -> str:
            async with self._news:
                await self._news.wait_for(lambda: any(words in line for line in self.said))
            return next(line for line in self.said if words in line)

        return await within(PATIENCE_SECONDS, heard())

    async def ended(self) -> int:
        """Wait for the end; the exit code."""
        return await within(PATIENCE_SECONDS, self.process.wait())

    async def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()


@asynccontextmanager
async def started(command: str, directory: Path, **environment: str) -> AsyncIterator[Program]:
    """Start a command with nothing but `environment`; what still runs at the end is killed."""
    program = Program(
        await asyncio.create_subprocess_exec(
            COMMANDS / command,
            cwd=directory,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    )
    listening = asyncio.create_task(program.listen())
    try:
        yield program
    finally:
        if program.process.returncode is None:
            program.process.kill()
        await program.process.wait()
        await listening


async def refused(command: str, directory: Path, **environment: str) -> str:
    """Start a command that must not start: exit code 1, one line and no traceback. Return the line."""
    async with started(command, directory, **environment) as program:
        assert await program.ended() == 1, program.said
    lines = [line for line in program.said if " INFO " not in line and " WARNING " not in line]
    assert len(lines) == 1, program.said
    assert lines[0].startswith(f"{command}: "), program.said
    return lines[0].removeprefix(f"{command}: ")


def free_port(first: int, last: int, also: int = 0) -> int:
    """A free port in a range, such that the one `also` above it, a multiple of SHARES, is free as well."""
    share = range(first + (os.getpid() - first) % SHARES, last + 1, SHARES)
    while True:
        port = random.choice(share)
        if ports.is_free(port) and ports.is_free(port + also):
            return port
