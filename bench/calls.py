"""Where the time goes, call by call: a worker or an overseer that writes down each of its calls on the folder.

    CALLS=/tmp/calls python -m bench.calls worker     as hanas-worker, with the same settings; writes /tmp/calls.<pid>
    CALLS=/tmp/calls python -m bench.calls overseer   as hanas-overseer
    python -m bench.calls show --from 32.8 --to 36 --least 0.05 /tmp/calls.*

One line for each call when it has returned: when it began (seconds of the machine's monotonic clock, one for all
processes), how long it took, the lane, the operation, the name, its other arguments and its error. A call that never
returns leaves no line. What the process logs stands between them. Writing costs some 20 µs a call.
"""

import argparse
import functools
import importlib
import logging
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from hanas_core.volume.posix import PosixFile, PosixFolder

_FILE = ("read", "write", "write_block", "sync", "close")
_FOLDER = ("open", "create", "allocate", "room", "link", "remove", "sync_directory", "refresh", "names")
_LANES = "folder-"
"""How the threads' names of lanes begin."""
_LOG = "log:"


class Line(NamedTuple):
    """A call, or a line of the process's log."""

    began: float
    took: float
    source: str
    text: str


def _record(out: TextIO, began: float, took: float, text: str) -> None:
    out.write(f"{began:.4f} {took:.4f} {text}\n")


def _describe(argument: object) -> str:
    return str(argument) if isinstance(argument, int | str) else f"{len(argument)} bytes"  # type: ignore[arg-type]


def _traced(call: Callable[..., Awaitable[object]], out: TextIO) -> Callable[..., Awaitable[object]]:
    @functools.wraps(call)
    async def traced(target: Any, *arguments: object) -> object:
        began, error = time.monotonic(), ""
        try:
            return await call(target, *arguments)
        except Exception as caught:
            error = f" {type(caught).__name__}"
            raise
        finally:
            took, lane = time.monotonic() - began, threading.current_thread().name.removeprefix(_LANES)
            own = (target._name,) if isinstance(target, PosixFile) else ()
            text = " ".join(map(_describe, (*own, *arguments)))
            _record(out, began, took, f"{lane.replace(' ', '-')} {call.__name__} {text}{error}")

    return traced


class _Journal(logging.Handler):
    """Writes what the process logs between its calls."""

    def __init__(self, out: TextIO) -> None:
        super().__init__(logging.INFO)
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        _record(self._out, time.monotonic(), 0.0, f"{_LOG} {record.getMessage()}")


def trace(out: TextIO) -> None:
    """Have every call on the folder of this process written to ``out``."""
    for kind, calls in ((PosixFile, _FILE), (PosixFolder, _FOLDER)):
        for name in calls:
            setattr(kind, name, _traced(getattr(kind, name), out))


def run(program: str, path: str) -> int:
    """Run a program with its calls written to ``path`` and its process id; return its exit code."""
    began = time.monotonic()
    with Path(f"{path}.{os.getpid()}").open("a", buffering=1) as out:
        trace(out)
        main: Callable[[], int] = importlib.import_module(f"hanas_{program}.__main__").main
        _record(out, began, time.monotonic() - began, f"{_LOG} {program} imported")
        logging.getLogger().addHandler(_Journal(out))
        return main()


def lines(path: Path) -> list[Line]:
    """Return what one process wrote."""
    rows = (row.split(" ", 2) for row in path.read_text("utf-8", "replace").splitlines())
    return [Line(float(began), float(took), path.suffix[1:], text) for began, took, text in rows]


def show(paths: list[Path], begin: float, end: float, least: float) -> None:
    """Print the calls under way between two moments that took at least so long, and what was logged, in order."""
    for began, took, source, text in sorted(line for path in paths for line in lines(path)):
        if began <= end and began + took >= begin and (took >= least or text.startswith(_LOG)):
            print(f"{began - begin:9.3f} {took:8.3f} {source:>8} {text[:160]}")


def main() -> int:
    """Run a program, or show what programs wrote."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for program in ("worker", "overseer"):
        commands.add_parser(program)
    shown = commands.add_parser("show")
    shown.add_argument("--from", dest="begin", type=float, default=0.0, help="seconds of the monotonic clock (0)")
    shown.add_argument("--to", dest="end", type=float, default=float("inf"), help="(the end)")
    shown.add_argument("--least", type=float, default=0.0, help="seconds that a call took at least (0)")
    shown.add_argument("paths", type=Path, nargs="+")
    given = parser.parse_args()
    if given.command == "show":
        show(given.paths, given.begin, given.end, given.least)
        return 0
    if "CALLS" not in os.environ:
        parser.error("set CALLS to where the calls shall be written")
    return run(given.command, os.environ["CALLS"])


if __name__ == "__main__":
    sys.exit(main())
