"""What a worker has counted of one log since it started, for status and metrics."""


class Tally:
    """Plain counters. They belong to the event loop."""

    __slots__ = ("cuts", "expiries", "watches", "watches_lost")

    def __init__(self) -> None:
        """Begin at zero."""
        self.cuts = 0
        """How often history was forgotten before its time, for want of memory or of room on the volume."""
        self.expiries = 0
        """Leases that expired."""
        self.watches = 0
        """Watches that are open now."""
        self.watches_lost = 0
        """Watches that ended because the changes that they were to tell were forgotten."""
