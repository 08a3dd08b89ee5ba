"""Drive a coroutine of this package to its end on the calling thread.

Everything that touches the folder is written as ``async def`` against `hanas_core.volume.folder.Folder`. Production
gives it a folder whose operations block and never suspend, so that one `send` runs the whole procedure; a simulation
gives it a folder that suspends at every operation and may run other members in between.
"""

from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(procedure: Coroutine[Any, Any, T]) -> T:
    """Return the result of ``procedure``, which must not suspend. Errors pass through; RuntimeError if it suspends."""
    try:
        procedure.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    procedure.close()
    raise RuntimeError(f"{procedure!r} suspended: it was given a folder that is not the blocking one")
