"""What a member, a main and a link can be: the words that members and documents use for it."""

from enum import StrEnum


class Role(StrEnum):
    """What a worker is in a log."""

    JOINING = "joining"
    BACKUP = "backup"
    ELECT = "elect"
    MAIN = "main"


class MainState(StrEnum):
    """How far the holder of the highest claim is."""

    ELECT = "elect"
    """It takes over: there is no manifest yet."""
    SERVING = "serving"
    HANDED_OVER = "handed-over"


class LinkState(StrEnum):
    """Whether keep-alives arrive."""

    UP = "up"
    FAILED = "failed"
    UNKNOWN = "unknown"
