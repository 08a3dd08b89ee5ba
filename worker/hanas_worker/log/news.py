"""What the main of a log, or its main-elect, tells the other members of it."""

import msgspec

from hanas_core.log.positions import Position
from hanas_core.members.documents import LOG
from hanas_core.members.roles import MainState


class LogNews(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """How one log is at its main."""

    log: int = LOG
    epoch: int
    state: MainState
    sequence: int = 0
    committed: Position | None = None
    """The commit position."""
    stalled_for: float = 0.0
    """How long the main has been waiting for the folder: age of the oldest uncommitted batch, of the oldest read that
    waits for its check, or time since it last read its mailbox, whichever is longest. Seconds."""
    full: bool = False
    progress: str | None = None
    """How far a takeover is."""
