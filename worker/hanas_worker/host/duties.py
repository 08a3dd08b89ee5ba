"""The duties of a worker on the folder, by which its lanes, its wakers and the folder's troubles are named."""

from enum import StrEnum


class Duty(StrEnum):
    """One kind of work, which nothing else may delay."""

    # of the process
    START = "start"
    """What goes before the arrival."""
    ARRIVE = "arrive"
    ARBITRATION = "arbitration"
    """Deciding in the folder who is the main, when no overseer can be reached."""
    FITNESS = "fitness"
    MAIL = "mail"
    """Reading the mailboxes, and answering probes."""
    PROBE = "probe"
    PRESENCE = "presence"
    REPORT = "report"
    # of a log
    WATCH = "watch"
    """Looking for newer claims and planned hand-overs."""
    LOG = "log"
    """Reading the log: as a backup, or to take over."""
    PLACES = "places"
    """Learning where values have moved."""
    PREPARE = "prepare"
    """Zero-written space for the next segment."""
    COMPACT = "compact"
    SNAPSHOT = "snapshot"
    SEAL = "seal"
    REMOVE = "remove"
    """Removing files that nobody needs."""
    COMMIT = "commit"
    READ_CHECK = "read check"
    VALUES = "values"
    """Reading values that are not at hand in memory."""
