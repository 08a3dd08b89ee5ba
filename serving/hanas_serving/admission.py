"""Who gets a connection when there are many: a bound, and who has to leave when it is reached.

A new client takes the place of a connection that waits for its client, in the order of `Phase`, and among these of the
one that has waited longest; those that have just begun to wait come last. Only if there is none, the new client is
answered 503.
"""

import asyncio
import logging
import math
from typing import Generic, TypeVar

from hanas_serving.limits import Limits
from hanas_serving.problems import Problem
from hanas_serving.stream import Phase, Stream

_log = logging.getLogger("hanas.serving")

_YOUNG_SECONDS = 1.0
"""A connection that has waited for less is ended after all others only: its client may be about to send."""
_BODY_SECONDS = 5.0
"""... and one that receives a body, not at all within this time."""
_LOOK_SECONDS = 0.1
"""Between two looks at all connections."""
_MOST_LEAVING = 32
"""Connections beyond the bound: they stay for a moment, so that their refusals are not lost in a reset."""
_PRESSED_SECONDS = 10.0
_DETAIL = "there are as many connections as this server may have: close those that you do not need, and try again"
_REFUSAL = Problem(503, _DETAIL, {"Retry-After": "1"}).answer()

ADVICE = (
    "find the clients that open connections and do not use them; or raise HANAS_CONNECTIONS, and the number of files "
    "that the process may open (ulimit -n)"
)

S = TypeVar("S", bound=Stream)


def _now() -> float:
    return asyncio.get_running_loop().time()


class Admission(Generic[S]):
    """The connections of one endpoint."""

    def __init__(self, limits: Limits) -> None:
        """Begin without connections."""
        self.limits = limits
        self.connections: set[S] = set()
        self.refused = self.displaced = 0
        """Clients that were answered 503; connections that were closed to make room for another one."""
        self._pressed_at = -math.inf
        self._leaving: dict[S, None] = {}
        self._spare: list[tuple[Phase, float, S]] = []
        """What could be spared at the last look, best last."""
        self._looked_at = -math.inf

    @property
    def pressed(self) -> bool:
        """Whether somebody had to leave, or was refused, a moment ago."""
        return _now() - self._pressed_at < _PRESSED_SECONDS

    @property
    def trouble(self) -> str:
        """What is wrong just now, for people; empty if nothing is."""
        if not self.pressed:
            return ""
        return f"all {self.limits.connections} are in use; idle ones are closed for new ones, else new ones are refused"

    def enter(self, connection: S) -> None:
        """Take a new connection; if there are too many, end another one or refuse this one."""
        room = len(self.connections) - len(self._leaving) < self.limits.connections or self.make_room()
        self.connections.add(connection)
        if not room:
            self.refused += 1
            connection.refuse(_REFUSAL)
            self._let_linger(connection)

    def left(self, connection: S) -> None:
        """Forget a connection that was lost."""
        self.connections.discard(connection)
        self._leaving.pop(connection, None)

    def make_room(self) -> bool:
        """End the connection that can best be spared; return whether there was one."""
        if not self.pressed:
            _log.warning("%d connections are open, as many as may be: some are closed", self.limits.connections)
        self._pressed_at = _now()
        while (connection := self._next_spare()) is not None:
            if connection in self._leaving:
                continue
            self.displaced += 1
            if connection.phase() in {Phase.HEAD, Phase.BODY}:
                connection.refuse(_REFUSAL)
                self._let_linger(connection)
            else:
                connection.leave(connection.phase())
                self._leaving[connection] = None
            return True
        return False

    def _let_linger(self, connection: S) -> None:
        self._leaving[connection] = None
        if len(self._leaving) > _MOST_LEAVING:
            oldest = next(iter(self._leaving))
            del self._leaving[oldest]
            oldest.abort()

    def _next_spare(self) -> S | None:
        """Return a connection that may be ended, after a look at all of them if the last one found no more."""
        now = _now()
        for _ in range(2):
            while self._spare:
                phase, since, connection = self._spare.pop()
                if connection in self.connections and connection.phase() is phase and connection.since == since:
                    return connection
            if now - self._looked_at < _LOOK_SECONDS:
                return None
            self._looked_at = now
            entries = ((connection.phase(), connection.since, connection) for connection in self.connections)
            self._spare = [entry for entry in entries if self._may_leave(*entry, now)]
            self._spare.sort(key=lambda entry: (now - entry[1] < _YOUNG_SECONDS, entry[:2]), reverse=True)
        return None

    @staticmethod
    def _may_leave(phase: Phase, since: float, connection: S, now: float) -> bool:
        if phase is Phase.ANSWER or connection.blocked():
            return False
        return phase is not Phase.BODY or now - since >= _BODY_SECONDS
