"""The news of a log that its main or main-elect sends to the other members."""

import msgspec

from hanas_core.log.positions import Position
from hanas_core.members.documents import LOG
from hanas_core.members.roles import MainState
from hanas_core.volume.folder import BLOCK_BYTES


class LogNews(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The state of one log at its main."""

    log: int = LOG
    epoch: int
    state: MainState
    sequence: int = 0
    committed: Position | None = None
    """The commit position."""
    stalled_for: float = 0.0
    """How long the main has waited for the folder, seconds: the longest of the age of the oldest uncommitted batch, the
    age of the oldest read that waits for its check, and the time since it last read its mailbox."""
    hung_for: float = 0.0
    """How long no call on the folder has come back to the main, seconds."""
    paused: float = 0.0
    """The longest pause of the sender's process within the last `PAUSES_WITHIN` seconds."""
    full: bool = False
    progress: str | None = None
    """How far a takeover is."""

    @property
    def committed_there(self) -> Position | None:
        """The commit position, if it can be one of this epoch: no other may be a bound for a takeover."""
        position = self.committed
        if position is None or position.epoch != self.epoch or position.number < 1 or position.offset < BLOCK_BYTES:
            return None
        return position
