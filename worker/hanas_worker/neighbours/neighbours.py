"""How the logs of this worker reach the other members and the overseers: `hanas_worker.log.ways`, carried out."""

import logging
from collections.abc import Callable, Sequence
from functools import partial

from hanas_core.epochs.arbitration import Challenge
from hanas_core.members.detector import StartProbe
from hanas_worker.host.host import Host
from hanas_worker.log.state import LogState
from hanas_worker.log.ways import Told
from hanas_worker.neighbours.keepalives import Epochs, KeepAlive, Sender
from hanas_worker.neighbours.lifeline import Lifeline
from hanas_worker.neighbours.mail import Mail
from hanas_worker.neighbours.overseers import Overseers, Rejected

log = logging.getLogger("hanas.worker")


class Neighbours:
    """The ways of one process."""

    def __init__(self, host: Host, mail: Mail, overseers: Overseers) -> None:
        """Be connected to nobody yet."""
        settings = host.settings
        self._host = host
        self._mail = mail
        self._overseers = overseers
        self._sender = Sender(settings.member, settings.secrets, settings.timing.suspect_after)
        self._lifeline = Lifeline(settings.member, settings.secrets, settings.timing.suspect_after)

    def tell(self, told: Sequence[Told]) -> None:
        """Send news to every other member, now."""
        host, news = self._host, tuple(news for news, _ in told)
        keepalive = KeepAlive(host.settings.member, host.incarnation, host.folder_id, news)
        self._sender.send(keepalive, host.peers.link_urls(host.now), partial(_delivered, told))

    async def probe(self, state: LogState, start: StartProbe) -> None:
        """Ask the main through the folder whether it can commit, and tell the detector what the own canary did."""
        await self._mail.probe(state, start)

    async def challenge(self, challenge: Challenge) -> bool:
        """Ask for a takeover; False if that was refused, else the claims tell the answer. Raises FolderError."""
        settings = self._host.settings
        try:
            await self._overseers.challenge(self._host.folder, challenge, (settings.advertise_url, settings.link_url))
        except Rejected as refusal:
            log.warning("the takeover could not be asked for: %s", refusal)
            return False
        return True

    def hold_on_to(self, url: str, on_closed: Callable[[], None]) -> None:
        """Stay connected to the link port at ``url``, to nobody else; ``on_closed`` is called whenever that ends."""
        self._host.keep(self._lifeline.hold(url, on_closed))

    def let_go(self) -> None:
        """Be connected to nobody."""
        self._lifeline.let_go()

    async def close(self) -> None:
        """Give up what is being sent."""
        await self._sender.close()


def _delivered(told: Sequence[Told], peer: str, epochs: Epochs | None) -> None:
    del peer
    for (_, heard), epoch in zip(told, epochs or (), strict=False):
        heard(epoch)
