"""What a log asks of those who talk with the others: how they do it is not its concern."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple

from hanas_core.epochs.arbitration import Challenge
from hanas_core.members.detector import StartProbe
from hanas_worker.log.news import LogNews
from hanas_worker.log.state import LogState

Told = tuple[LogNews, Callable[[int], None]]
"""News, and what gets each answer: the highest epoch that a member knows."""


class Ways(NamedTuple):
    """The ways to the other members and to the overseers."""

    tell: Callable[[Sequence[Told]], None]
    """Send news to every other member, now."""
    probe: Callable[[LogState, StartProbe], Coroutine[Any, Any, None]]
    """Ask the main through the folder whether it can commit, and tell the detector what the own canary did."""
    challenge: Callable[[Challenge], Coroutine[Any, Any, bool]]
    """Ask for a takeover; False if that was refused, else the claims tell the answer. Raises FolderError."""
    hold: Callable[[str, Callable[[], None]], asyncio.Task[None]]
    """Stay connected to the link port at this URL, to nobody else, and tell whenever that ends."""
    let_go: Callable[[], None]
    """Be connected to nobody."""
