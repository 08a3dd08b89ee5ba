"""The words for what a member concludes (docs/protocol.md, section 4)."""

from enum import StrEnum


class Verdict(StrEnum):
    """What is the matter with the main, seen from one member."""

    HEALTHY = "Healthy"
    LINK_FAILED = "LinkFailed"
    PRIMARY_FAILED = "PrimaryFailed"
    PRIMARY_WEDGED = "PrimaryWedged"
    PRIMARY_ISOLATED = "PrimaryIsolated"
    FOLDER_FULL = "FolderFull"
    FOLDER_UNAVAILABLE = "FolderUnavailable"
    HANDED_OVER = "HandedOver"
    CONNECTIONS_EXHAUSTED = "ConnectionsExhausted"
    TAKEOVER_FAILED = "TakeoverFailed"
    """Of alerts only: nobody serves, and a takeover would fail."""
    UNKNOWN = "Unknown"


TAKEOVER_VERDICTS = frozenset({Verdict.PRIMARY_FAILED, Verdict.PRIMARY_WEDGED, Verdict.HANDED_OVER})
"""The verdicts that justify a takeover."""


class Severity(StrEnum):
    """How soon a person should look."""

    NOTICE = "notice"
    URGENT = "urgent"
    CRITICAL = "critical"
