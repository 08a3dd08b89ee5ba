"""What the parts of one log share: what this worker is in it, its copy of it, and the events that wake its duties."""

import asyncio
from collections import defaultdict

from hanas_core.log.positions import Position
from hanas_core.members.documents import LOG
from hanas_core.members.member import Member
from hanas_core.state.replica import Replica
from hanas_worker.host.duties import Duty
from hanas_worker.host.host import Host
from hanas_worker.log.service import Service


class LogState:
    """One log, as one incarnation of a worker knows it. It belongs to the event loop."""

    def __init__(self, host: Host) -> None:
        """Know nothing yet."""
        settings = host.settings
        self.id = LOG
        self.host = host
        self.member = Member(settings.member, host.incarnation, settings.timing, settings.policy)
        self.replica = Replica(host.folder, settings.cache_bytes)
        self.replica_lock = asyncio.Lock()
        """Held by whoever reads the log into the replica: the follower, or a takeover."""
        self.service: Service | None = None
        """While this worker is the main."""
        self.followed_epoch = 0
        """The epoch whose manifest the replica follows."""
        self.served_epoch = 0
        """The last epoch that was seen to have a manifest: its main serves, whatever the folder does here now."""
        self.known: Position | None = None
        """The last commit position that a keep-alive told."""
        self.concluded = (0, 0.0)
        """The last epoch whose main was found to have failed here, and when."""
        self.wakers: defaultdict[Duty, asyncio.Event] = defaultdict(asyncio.Event)
        """Make the duties of the log run at once."""
