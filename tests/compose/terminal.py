"""The command blocks of docs/compose.md, and a shell that they are typed into one after the other."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.integration.waiting import within

_PATIENCE_SECONDS = 200.0
"""A first build takes the longest."""
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: Path) -> dict[str, list[str]]:
    """The command blocks of a document, by heading."""
    _, *sections = re.split(r"^## ", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = {}
    for section in sections:
        heading, _, text = section.partition("\n")
        found[heading] = _BLOCK.findall(text)
    return {heading: listed for heading, listed in found.items() if listed}


class Terminal:
    """One shell: what a block defines, the next one knows."""

    def __init__(self, shell: asyncio.subprocess.Process, scripts: Path) -> None:
        assert shell.stdin is not None
        assert shell.stdout is not None
        self._shell, self._in, self._out = shell, shell.stdin, shell.stdout
        self._scripts = scripts
        self._played = 0

    async def play(self, commands: str) -> str:
        """Run commands; return what they wrote. AssertionError, with all of that, if any of them fails."""
        self._played += 1
        mark = f"--- end of block {self._played}: "
        script = self._scripts / f"block-{self._played}.sh"
        script.write_text(f"trap 'failed=\"$BASH_COMMAND\"' ERR; failed=\n{commands}\ntrap - ERR\n", encoding="utf-8")
        # Sourced, so that definitions last, and without the shell's own input, which `docker compose exec` would read.
        self._in.write(f'source {script} </dev/null; echo; echo "{mark}$failed"\n'.encode())
        await self._in.drain()
        return await within(_PATIENCE_SECONDS, self._until(mark))

    async def _until(self, mark: str) -> str:
        lines: list[str] = []
        while line := (await self._out.readline()).decode():
            if line.startswith(mark):
                failed = line.removeprefix(mark).strip()
                said = "".join(lines)
                assert not failed, f"{failed!r} failed:\n{said}"
                return said
            lines.append(line)
        raise AssertionError(f"the shell ended:\n{''.join(lines)}")

    async def close(self) -> None:
        """End the shell."""
        self._in.close()
        await self._shell.wait()


@asynccontextmanager
async def opened(directory: Path, scripts: Path, environment: Mapping[str, str]) -> AsyncIterator[Terminal]:
    """Open a shell in a directory; what it runs is kept in `scripts`."""
    terminal = Terminal(
        await asyncio.create_subprocess_exec(
            "bash",
            cwd=directory,
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        ),
        scripts,
    )
    try:
        yield terminal
    finally:
        await terminal.close()
