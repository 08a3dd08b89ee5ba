"""The secret of the components and the tokens of clients, which are read again while a process runs.

A file counts when two looks in a row have read the same, so one that is just being written is not taken for whole. One
that cannot be used changes nothing: what was read before stays in force, and a person is told.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import overload

from hanas_core.volume.errors import FolderError
from hanas_serving import settings
from hanas_serving.lanes import Lane, StartThread
from hanas_serving.settings import SECRETS, TOKENS, SettingError

LOOK_SECONDS = 1.0
"""Between two looks at the files."""
_PATIENCE_SECONDS = 10.0
"""How long reading a file may take."""
ADVICE = "Correct the file, in one step: write another one and rename it. It is read again by itself."
_log = logging.getLogger("hanas.serving")


class Lines(Sequence[str]):
    """The lines of one file, as they count now. There are never none where there were some."""

    def __init__(self, present: tuple[str, ...]) -> None:
        """Begin with these."""
        self.present = present

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...
    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        """Return some of them."""
        return self.present[place]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.present)


class _File:
    """One file, and what the last look at it gave."""

    def __init__(self, variable: str, lines: Lines) -> None:
        self.variable = variable
        self.lines = lines
        self.seen: tuple[str, ...] | str = lines.present
        """The lines, or what is wrong with the file."""
        self.trouble = ""

    def take(self, seen: tuple[str, ...] | str) -> bool:
        """Take note of what a look gave; return whether other lines count from now on."""
        before, self.seen = self.seen, seen
        if seen != before:
            return False
        if isinstance(seen, str):
            if seen != self.trouble:
                _log.error("%s; the %d lines that it had before stay in force", seen, len(self.lines))
                self.trouble = seen
            return False
        if self.trouble:
            _log.info("%s: the file can be used again", self.variable)
            self.trouble = ""
        if seen == self.lines.present:
            return False
        self.lines.present = seen
        _log.info("%s: the file has changed; its %d lines are in force from now on", self.variable, len(seen))
        return True


class Credentials:
    """What callers of one process show, and what it shows to others."""

    def __init__(
        self, environment: Mapping[str, str], secrets: tuple[str, ...], client_tokens: tuple[str, ...]
    ) -> None:
        """Begin with these. ``environment`` names the files; without a name they stay as they are."""
        self.secrets = Lines(secrets)
        self.client_tokens = Lines(client_tokens)
        self.readers = Lines(self._all())
        """Of those who may see the state of the cluster; none: everyone may."""
        self.on_change: Callable[[], object] = lambda: None
        """Called when other lines count."""
        self._environment = environment
        files = (_File(SECRETS, self.secrets), _File(TOKENS, self.client_tokens))
        self._files = [file for file in files if environment.get(file.variable)]

    @property
    def trouble(self) -> str:
        """What is wrong with the files; empty if nothing is."""
        return "; ".join(file.trouble for file in self._files if file.trouble)

    async def keep(self, start: StartThread) -> None:
        """Look at the files until cancelled, in a thread that ``start`` starts: they may be on a volume that hangs."""
        lane = Lane("credentials", start)
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for file in self._files:
                if file.take(await self._look(lane, file.variable)):
                    self.readers.present = self._all()
                    self.on_change()

    async def _look(self, lane: Lane, variable: str) -> tuple[str, ...] | str:
        try:
            return await lane.run(_read(self._environment, variable), _PATIENCE_SECONDS)
        except SettingError as error:
            return str(error)
        except FolderError:  # of the lane: its thread has not returned
            return f"{variable}={self._environment[variable]}: the file cannot be read: it does not answer"

    def _all(self) -> tuple[str, ...]:
        return (*self.client_tokens, *self.secrets) if self.client_tokens else ()


async def _read(environment: Mapping[str, str], variable: str) -> tuple[str, ...]:
    return settings.lines_of(environment, variable)
