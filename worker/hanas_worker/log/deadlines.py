"""When leases expire, in lease time, which runs only while this worker serves (docs/protocol.md, section 3.14).

Pure: the time is handed in.
"""

from asyncio import Future
from collections.abc import Iterable
from heapq import heapify, heappop, heappush

import msgspec

from hanas_core.log.positions import Version
from hanas_core.state.leases import Lease

MOST_STEP = 1.0
"""Lease time moves on by this at most between two checks, seconds."""
CHECKPOINT_AFTER = 300.0
"""What remains of a lease is noted in the log after so many seconds without a renewal, or half of its time."""


class LeaseTime:
    """Seconds during which this worker was seen to serve."""

    def __init__(self, clock: float) -> None:
        """Begin at 0. ``clock``: monotonic, seconds, here and below."""
        self._time, self._checked_at = 0.0, clock

    def now(self, clock: float) -> float:
        """Return lease time as if a check said "unsealed" now, however long the last one is ago."""
        return self._time + clock - self._checked_at

    def checked(self, clock: float) -> float:
        """A check has said "unsealed": move on, and return lease time."""
        self._time += min(clock - self._checked_at, MOST_STEP)
        self._checked_at = clock
        return self._time


def every(ttl: int) -> float:
    """Return after how many seconds what remains of a lease is noted."""
    return min(CHECKPOINT_AFTER, ttl / 2)


class Held(msgspec.Struct, eq=False, gc=False):
    """A lease and its deadline. Of a lease there is nothing here that the garbage collector looks at for long."""

    lease: int
    origin: int
    sequence: int
    ttl: int
    deadline: float
    """In lease time, as ``checkpoint``."""
    checkpoint: float
    pending: Future[None] | None = None
    """Until the outcome of the record about it that is on its way."""
    placed: bool = True
    """It stands in the order of what is to be done."""

    @property
    def granted(self) -> Version:
        """Version of the grant."""
        return Version(self.origin, self.sequence)

    @property
    def every(self) -> float:
        """After how many seconds what remains is noted."""
        return every(self.ttl)

    @property
    def next(self) -> float:
        """When there is something to do."""
        return min(self.deadline, self.checkpoint)

    @property
    def place(self) -> tuple[float, int, int, int]:
        """When there is something to do, and with which grant: a bare tuple."""
        return self.next, self.lease, self.origin, self.sequence


class Deadlines:
    """All leases, by what is to be done with them next."""

    def __init__(self, leases: Iterable[tuple[int, Lease]]) -> None:
        """Give each lease the time that remains of it, from lease time 0 on."""
        self._held = {
            lease: Held(lease, told.origin, told.sequence, told.ttl, float(told.remaining), every(told.ttl))
            for lease, told in leases
        }
        self._order = [held.place for held in self._held.values()]
        """Of each lease one place, which comes no later than what is to be done with it."""
        heapify(self._order)

    def __len__(self) -> int:
        """Return the number of leases."""
        return len(self._held)

    def get(self, lease: int) -> Held | None:
        """Return a lease, None if there is none with this id."""
        return self._held.get(lease)

    def begin(self, lease: int, granted: Version, ttl: int, now: float) -> None:
        """A lease was granted."""
        held = self._held[lease] = Held(lease, *granted, ttl, now + ttl, now + every(ttl))
        heappush(self._order, held.place)

    def renew(self, held: Held, now: float) -> None:
        """Give a lease its whole time again."""
        held.deadline, held.checkpoint = now + held.ttl, now + held.every

    def put_off(self, held: Held, seconds: float, now: float) -> None:
        """Do nothing with a lease for a while."""
        held.checkpoint = now + seconds
        held.deadline = max(held.deadline, now + seconds)

    def noted(self, held: Held, now: float) -> None:
        """What remains of a lease stands in the log."""
        held.checkpoint = now + held.every

    def end(self, lease: int, granted: Version) -> None:
        """A lease was revoked."""
        held = self._held.get(lease)
        if held is not None and held.granted == granted:
            del self._held[lease]

    def due(self, now: float, most: int) -> list[Held]:
        """Return leases with which something is to be done now, ``most`` at most. None comes again before `again`."""
        due: list[Held] = []
        while self._order and self._order[0][0] <= now and len(due) < most:
            _, lease, *granted = heappop(self._order)
            held = self._held.get(lease)
            if held is None or [held.origin, held.sequence] != granted:
                continue
            held.placed = False
            if held.pending is not None:
                continue  # its outcome gives it its place again
            if held.next <= now:
                due.append(held)
            else:
                self.again(held)
        return due

    def again(self, held: Held) -> None:
        """Give a lease its place again, if it has none and has not ended."""
        if not held.placed and self._held.get(held.lease) is held:
            held.placed = True
            heappush(self._order, held.place)
