"""The duties of a worker on the folder: names of its lanes, its wakers and the folder's errors."""

from enum import StrEnum


class Duty(StrEnum):
    """A kind of work that no other may delay."""

    # of the process
    START = "start"
    """What precedes the arrival."""
    ARRIVE = "arrive"
    ARBITRATION = "arbitration"
    """Deciding in the folder who is the main, when no overseer can be reached."""
    FITNESS = "fitness"
    MAIL = "mail"
    """Reading the mailboxes, and answering probes."""
    CUSTODY = "custody"
    """Whether the files that are held open are still under their names."""
    PROBE = "probe"
    PRESENCE = "presence"
    REPORT = "report"
    # of a log
    WATCH = "watch"
    """Looking for newer claims and planned hand-overs."""
    LOG = "log"
    """Reading the log: as a backup, or to take over."""
    REHEARSE = "rehearse"
    """Reading the log as a takeover would, where the last ones failed."""
    PLACES = "places"
    """Learning where values have moved."""
    PREPARE = "prepare"
    """Zero-written space for the next segment."""
    STOCK = "stock"
    """More such space, while the log fills fast."""
    COMPACT = "compact"
    SNAPSHOT = "snapshot"
    SEAL = "seal"
    REMOVE = "remove"
    """Removing files that are no longer needed."""
    COMMIT = "commit"
    READ_CHECK = "read check"
    VALUES = "values"
    """Reading values that are not in memory."""
