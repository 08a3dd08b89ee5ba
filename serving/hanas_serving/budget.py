"""The memory for what clients send and do not finish, and ask for and do not take: one budget for all of it.

A `Hold` is what one body, value or connection takes. Large ones ask before they take it, and wait in order, for a
share of the budget only: the rest is for what cannot ask, such as the begin of a small body. While somebody waits for
memory, the holder that makes the least progress at its client loses it.
"""

import asyncio
from collections import deque
from collections.abc import Callable

SMALL_BYTES = 64 << 10
"""What is no larger need not ask."""
DEFAULT_BYTES = 64 << 20
_SHARE_OF_SMALL = 8
"""One part in so many is kept for what cannot ask."""
_SHARE_OF_SURPLUS = 32
"""One part in so many is freed beyond what is needed by those that cannot wait."""
_GRACE_SECONDS = 2.0
"""A holder keeps what it has for so long, whoever waits."""
_PATIENCE_SECONDS = 5.0
"""How long one may wait for memory."""
_TICK_SECONDS = 0.1


class NoMemory(Exception):
    """Others hold the budget."""


class Budget:
    """Bytes that may be held at a time. It belongs to one event loop."""

    def __init__(self, most: int = DEFAULT_BYTES, aside: int = 0) -> None:
        """Allow ``most`` bytes. ``aside``: of these, what something else holds and bounds itself."""
        self.most = most
        self._room = most - aside
        self._room_asked = self._room - self._room // _SHARE_OF_SMALL
        self.used = 0
        """Bytes that are held."""
        self.refusals = 0
        """How often one waited in vain."""
        self.losses = 0
        """How often a holder lost what it held."""
        self.holds: set[Hold] = set()
        """Those that hold something."""
        self._waiting: deque[tuple[Hold, int, asyncio.Future[None]]] = deque()
        self._leaving = 0
        """What those hold that were told to let go."""
        self._next_search = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def fits(self, size: int) -> bool:
        """Return whether ``size`` bytes may be taken without waiting."""
        return not self._waiting and self.used + size <= self._room_asked

    def takes(self, size: int) -> bool:
        """Return whether ``size`` bytes will find room that nobody asked for; make it if there is none."""
        excess = self._excess(size, self._room)
        if excess > 0:
            self._relieve(excess + self._room // _SHARE_OF_SURPLUS)
        return self._excess(size, self._room) <= 0

    async def wait(self, hold: "Hold", size: int) -> None:
        """Have ``hold`` hold ``size`` bytes in all, in its turn. Raises NoMemory after some seconds."""
        size = min(size, self._room_asked)  # else it would never fit
        if self.fits(size - hold.size):
            self._grant(hold, size)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = hold, size, turn
        self._waiting.append(entry)
        self._look()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await turn
        except TimeoutError:
            self.refusals += 1
            raise NoMemory from None
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)
                self.let_in()

    def let_in(self) -> None:
        """Let those in that fit by now, in their order."""
        while self._waiting:
            hold, size, turn = self._waiting[0]
            if self.used + size - hold.size > self._room_asked:
                return
            self._waiting.popleft()
            if not turn.done():
                self._grant(hold, size)
                turn.set_result(None)

    def change(self, hold: "Hold", size: int) -> None:
        """Count that ``hold`` holds ``size`` bytes from now on."""
        self.used += size - hold.size
        if hold.loses:
            self._leaving += size - hold.size
        hold.size = size
        if size:
            self.holds.add(hold)
        else:
            self.holds.discard(hold)
            hold.loses = False
        assert self.used >= 0 <= self._leaving, "nobody gives back more than it took"

    def take_away(self, hold: "Hold") -> None:
        """Tell a holder to let go."""
        self.losses += 1
        assert hold.lose is not None
        self.leave(hold)
        hold.lose()

    def leave(self, hold: "Hold") -> None:
        """Count what ``hold`` holds as about to go."""
        self._leaving += hold.size
        hold.loses = True

    def _excess(self, size: int, room: int) -> int:
        """Return how many bytes too many there are in ``room``, with ``size`` more and without what is about to go."""
        return self.used - self._leaving + size - room

    def _relieve(self, excess: int) -> None:
        """Have the slowest holders let go of ``excess`` bytes. They are searched for now and then only."""
        now = asyncio.get_running_loop().time()
        if now < self._next_search:
            return
        self._next_search = now + _TICK_SECONDS
        slow = [hold for hold in self.holds if hold.slow and hold.may_lose and now - hold.since >= _GRACE_SECONDS]
        for hold in sorted(slow, key=lambda hold: hold.moved() / (now - hold.since)):
            if excess <= 0:
                return
            self.take_away(hold)
            excess -= hold.size

    def _grant(self, hold: "Hold", size: int) -> None:
        hold.since = asyncio.get_running_loop().time()
        self.change(hold, size)

    def _look(self) -> None:
        """Make room for the first one that waits, now and while anyone does."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            hold, size, _ = self._waiting[0]
            self._relieve(self._excess(size - hold.size, self._room_asked))
            self._timer = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._look)


class Hold:
    """What one holder has of a budget, bytes."""

    def __init__(self, budget: Budget, lose: Callable[[], None] | None, moved: Callable[[], int] = int) -> None:
        """Hold nothing. ``lose`` must let go soon, and not before it returns; None: this cannot lose what it holds.

        ``moved``: what the client has sent or taken since this holds something, bytes.
        """
        self.size = 0
        self.since = 0.0
        self.loses = False
        """It was told to let go, or is about to."""
        self.slow = True
        """It waits for its client, not for this program."""
        self.lose, self.moved = lose, moved
        self._budget = budget

    @property
    def may_lose(self) -> bool:
        """Whether this may be told to let go."""
        return self.lose is not None and not self.loses

    def resize(self, size: int) -> None:
        """Hold ``size`` bytes, which cannot wait: the slowest holders let go if they do not fit, at last this one."""
        budget, more = self._budget, size - self.size
        if more > 0 and not self.size:
            self.since = asyncio.get_running_loop().time()
        budget.change(self, size)
        if more <= 0:
            budget.let_in()
        elif not budget.takes(0) and self.may_lose:
            budget.take_away(self)

    def release(self) -> None:
        """Hold nothing."""
        if self.size:
            self.resize(0)
