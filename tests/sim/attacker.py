"""An attacker on the link: it sees every keep-alive, and repeats, invents, alters or holds back what it likes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, NamedTuple

import msgspec

from tests.sim.world import World

FORGED = 1 << 50
"""The sequence in every keep-alive that the attacker has made or changed: no process ever sends it."""
_PATH = "/v1/keepalive"
_TICK_SECONDS = 0.03


class Trick(Enum):
    REPEAT = "repeats keep-alives, of the living and of the dead"
    INVENT = "invents keep-alives, with whatever proof it has seen"
    HOLD = "holds keep-alives back"


class Seen(NamedTuple):
    """A keep-alive on its way."""

    target: str
    headers: dict[str, str]
    body: bytes


class Attacker:
    """Does nothing until it begins."""

    def __init__(self, world: World, deliver: Callable[[Seen], None]) -> None:
        self.world = world
        self._deliver = deliver
        self._tricks: frozenset[Trick] = frozenset()
        self._held = 0.0
        self._seen: deque[Seen] = deque(maxlen=40)

    def begin(self, tricks: Iterable[Trick]) -> None:
        idle = not self._tricks
        self._tricks = frozenset(tricks)
        self._held = self.world.random.uniform(0.5, 3.0)
        if idle and self._tricks:
            self._tick()

    def end(self) -> None:
        self._tricks = frozenset()

    def sees(self, target: str, path: str, headers: dict[str, str], body: bytes) -> float:
        """Take note of a request; return how long it holds it back, seconds."""
        if path != _PATH:
            return 0.0
        self._seen.append(Seen(target, headers, body))
        return self._held if Trick.HOLD in self._tricks else 0.0

    def _tick(self) -> None:
        if not self._tricks:
            return
        chance = self.world.random
        if self._seen:
            seen = chance.choice((self._seen[-1], chance.choice(self._seen)))
            if Trick.REPEAT in self._tricks:
                self._deliver(seen)
            if Trick.INVENT in self._tricks:
                self._deliver(self._forged(seen))
        self.world.after(_TICK_SECONDS, self._tick)

    def _forged(self, seen: Seen) -> Seen:
        """Change a keep-alive in ways that would do harm."""
        chance = self.world.random
        keepalive: dict[str, Any] = msgspec.json.decode(seen.body)
        for news in keepalive["logs"]:
            news["sequence"] = FORGED
            news["committed"] = [news["epoch"], 1, 1 << 40]
            news["state"] = chance.choice(("serving", "serving", "handed-over"))
            news["epoch"] += chance.choice((0, 0, 0, 1))
        return seen._replace(
            headers=chance.choice((seen.headers, {}, {"hanas-mac": "0" * 64})), body=msgspec.json.encode(keepalive)
        )
