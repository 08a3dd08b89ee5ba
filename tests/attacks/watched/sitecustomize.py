"""Python loads this at the start of each process that has this directory in its PYTHONPATH.

From then on each use of the communication folder on the main thread, which is the event loop's, is noted with its
stack in the directory ``HANAS_WATCH_NOTES``: by a path or by a descriptor, until the interpreter has ended.
"""

import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

_TOLD = frozenset(
    (
        *(
            "open",
            "os.chmod",
            "os.chown",
            "os.link",
            "os.listdir",
            "os.listxattr",
            "os.mkdir",
            "os.remove",
            "os.rename",
        ),
        *("os.rmdir", "os.scandir", "os.symlink", "os.truncate", "os.utime"),
    )
)
"""Calls on files that Python tells an audit hook about."""
_SILENT = (
    *("access", "close", "fchmod", "fdatasync", "fstat", "fstatvfs", "fsync", "ftruncate", "lseek", "lstat"),
    *("posix_fadvise", "posix_fallocate", "pread", "preadv", "pwrite", "pwritev", "read", "readv", "stat", "statvfs"),
    "write",
)
"""The others, which are wrapped."""


def _watch(folder: str, notes: str) -> None:
    """Watch for ever. All that is needed is in local names, for those of a module end before the interpreter does."""
    out = os.open(os.path.join(notes, str(os.getpid())), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    main, present, write = threading.get_ident(), threading.get_ident, os.write
    decode, read_link, stack = os.fsdecode, os.readlink, traceback.format_stack
    told, below, kind, text = _TOLD, folder + "/", int, str

    def is_inside(place: object) -> bool:
        try:
            path = read_link(f"/proc/self/fd/{place}") if type(place) is kind else decode(place)  # type: ignore[arg-type]
        except (OSError, TypeError):
            return False
        return path == folder or path.startswith(below)

    def note(what: str, arguments: tuple[Any, ...]) -> None:
        if present() != main:
            return
        for place in arguments:
            if is_inside(place):
                write(out, f"{what} {text(place)}\n{''.join(stack())}\n".encode())
                return

    def watched(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **more: Any) -> Any:
            note(name, arguments)
            return call(*arguments, **more)

        return noted

    for name in _SILENT:
        setattr(os, name, watched(f"os.{name}", getattr(os, name)))
    sys.addaudithook(lambda event, arguments: note(event, arguments) if event in told else None)


_watch(os.path.realpath(os.environ["COMMUNICATION_FOLDER"]), os.environ["HANAS_WATCH_NOTES"])
