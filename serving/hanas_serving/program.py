"""How a component starts and ends: one line for people when it cannot start, no traceback, exit codes 0, 1."""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from hanas_core import streams
from hanas_core.volume.errors import FolderError
from hanas_serving import allocator, audit, settings
from hanas_serving.limits import descriptors, raise_descriptors
from hanas_serving.settings import SettingError

_FIRST_FILE = 3
"""The lowest descriptor that is no standard stream."""
_ENDING_SECONDS = 1.0
"""How long a well file server may take for what a process had open."""
_LOG_LEVELS = ("INFO", "DEBUG", "WARNING", "ERROR", "CRITICAL")


def run(name: str, main: Callable[[asyncio.Event], Awaitable[Any]]) -> int:
    """Run ``main`` until it returns; the event it gets is set by SIGTERM, SIGINT, SIGHUP. Returns the exit code."""
    streams.open_standard()
    allocator.give_back_large_blocks()
    level = "HANAS_LOG_LEVEL"
    try:
        logging.basicConfig(
            level=settings.choice({level: os.environ.get(level, "").upper()}, level, _LOG_LEVELS),
            format=f"%(asctime)s {name} %(levelname)s %(message)s",
            stream=sys.stderr,
        )
        raise_descriptors()
        with audit.written_to(sys.stderr), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_signalled(main))
    except (SettingError, FolderError) as error:
        cause = "the communication folder cannot be used: " if isinstance(error, FolderError) else ""
        sys.stderr.write(f"{name}: {cause}{error}\n")
        return 1
    return 0


async def _until_signalled(main: Callable[[asyncio.Event], Awaitable[Any]]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    await main(stopping)


def close_files() -> None:
    """Close every descriptor but the standard streams, as the last thing that a process does.

    What it leaves open the kernel closes at its end, and waits for the file server (NFSv4) in a way that no signal
    ends, not even SIGKILL. A thread that waits here, in one system call for all of them, is ended by the exit.
    """
    everything = _FIRST_FILE, descriptors().limit
    closing = threading.Thread(target=os.closerange, args=everything, name="close", daemon=True)
    closing.start()
    closing.join(_ENDING_SECONDS)
