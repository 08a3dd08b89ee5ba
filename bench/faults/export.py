"""An NFS export as the volume of the campaign: each worker has a mount of its own, and a command breaks the server.

HANAS_NFS_MOUNTS: mounts of one export, by different clients, separated by colons. Worker N uses mount N; the overseer
and the campaign use the last one, which may be one more.
HANAS_NFS_FAULT: a command for the faults of the server and of the way to it; without it only those of processes and
links are possible. Its verbs: `server-stop`, `server-start`, `server-reboot SECONDS`, `cut N`, `heal N`,
`slow all MILLISECONDS` (0: none), `full`, `free`, `readonly`, `withdraw` (nothing is exported any more: every handle is
stale), `readwrite`. N is the client of a mount, from 0.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_RETURN_SECONDS = 180.0
"""The longest wait for the volume; NFSv4 opens files again when its grace time is over, 90 s by default."""
_POLL_SECONDS = 0.1
# A new file needs an open, which a server in its grace time makes wait, and a synced write.
_TRIAL = 'echo trial > "$0" && sync "$0" && rm "$0"'
_UNDO = {
    "server-stop": ("server-start",),
    "server-reboot": (),
    "cut": ("heal",),
    "slow": ("slow", "all", "0"),
    "full": ("free",),
    "readonly": ("readwrite",),
    "withdraw": ("readwrite",),
}


def mounts() -> list[Path]:
    """Return the mounts of HANAS_NFS_MOUNTS, none if it is not set. Raises SystemExit for one that is no directory."""
    found = [Path(mount) for mount in os.environ.get("HANAS_NFS_MOUNTS", "").split(":") if mount]
    for mount in found:
        if not (mount.is_absolute() and mount.is_dir()):
            raise SystemExit(f"HANAS_NFS_MOUNTS: {mount} is no absolute path of a directory; separate mounts by colons")
    return found


@dataclass(slots=True)
class Export:
    """The export with its faults in force."""

    mounts: Sequence[Path]
    command: Sequence[str] = field(default_factory=lambda: shlex.split(os.environ.get("HANAS_NFS_FAULT", "")))
    _undo: list[tuple[str, ...]] = field(default_factory=list)

    def is_soft(self) -> bool:
        """Return whether an operation without an answer fails at last, by the options of the mounts."""
        table = [line.split(" ") for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
        options = {entry[1]: set(entry[3].split(",")) for entry in table}
        return any(options.get(str(mount), set()) & {"soft", "softerr"} for mount in self.mounts)

    async def fail(self, verb: str, *words: str) -> None:
        """Inject a fault. Raises OSError with what the command said."""
        undo = _UNDO[verb]
        if undo:
            self._undo.append((*undo, *words) if verb == "cut" else undo)
        await self._call(verb, *words)

    async def mend(self) -> float:
        """Undo every fault; return the time (monotonic seconds) at which every mount could be written again."""
        while self._undo:
            await self._call(*self._undo.pop())
        return max(await asyncio.gather(*map(_returned, self.mounts)))

    async def _call(self, *words: str) -> None:
        code, said = await _run(*self.command, *words)
        if code != 0:
            raise OSError(f"{shlex.join([*self.command, *words])}: {said}")


async def _returned(mount: Path) -> float:
    async with asyncio.timeout(_RETURN_SECONDS):
        while True:
            code, _ = await _run("sh", "-c", _TRIAL, str(mount / f".trial-{os.getpid()}-{mount.name}"))
            if code == 0:
                return time.monotonic()
            await asyncio.sleep(_POLL_SECONDS)  # a soft mount fails instead of waiting


async def _run(*command: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return process.returncode, said.decode(errors="replace").strip()
