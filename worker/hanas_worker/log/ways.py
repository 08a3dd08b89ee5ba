"""What a log needs of the connections to other members and to overseers."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from hanas_core.epochs.arbitration import Challenge
from hanas_core.log.claimfile import Claim
from hanas_core.members.detector import StartProbe
from hanas_worker.log.forwarder import Forwarder
from hanas_worker.log.news import LogNews
from hanas_worker.log.state import LogState


class Ways(NamedTuple):
    """The ways to the other members and to the overseers."""

    tell: Callable[[tuple[LogNews, ...]], None]
    """Send news of logs to every other member, now; each log gets the answers (`Hearing.answered`)."""
    probe: Callable[[LogState, StartProbe], Coroutine[Any, Any, None]]
    """Ask the main through the folder whether it can commit; tell the detector the result of the own canary."""
    challenge: Callable[[Challenge], Coroutine[Any, Any, bool]]
    """Ask for a takeover; False if it was refused, else the claims are the answer. Raises FolderError."""
    hold: Callable[[Claim, Callable[[], None]], asyncio.Task[None]]
    """Stay connected to the link port of who made this claim, and no other; call back whenever the connection ends."""
    let_go: Callable[[], None]
    """Close that connection."""
    forward: Callable[[Forwarder, Claim], asyncio.Task[None]]
    """Keep a line for forwarding to who made this claim, and to no other."""
    stay: Callable[[], None]
    """End that line."""
