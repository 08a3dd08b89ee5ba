"""What a log asks of those who talk with the others: how they do it is not its concern."""

from collections.abc import Callable, Sequence
from typing import Protocol

from hanas_core.epochs.arbitration import Challenge
from hanas_core.members.detector import StartProbe
from hanas_worker.log.news import LogNews
from hanas_worker.log.state import LogState

Told = tuple[LogNews, Callable[[int], None]]
"""News, and what gets each answer: the highest epoch that a member knows."""


class Ways(Protocol):
    """The ways to the other members and to the overseers."""

    def tell(self, told: Sequence[Told]) -> None:
        """Send news to every other member, now."""

    async def probe(self, state: LogState, start: StartProbe) -> None:
        """Ask the main through the folder whether it can commit, and tell the detector what the own canary did."""

    async def challenge(self, challenge: Challenge) -> bool:
        """Ask for a takeover; False if that was refused, else the claims tell the answer. Raises FolderError."""

    def hold_on_to(self, url: str, on_closed: Callable[[], None]) -> None:
        """Stay connected to the link port at ``url``, to nobody else; ``on_closed`` is called whenever that ends."""

    def let_go(self) -> None:
        """Be connected to nobody."""
