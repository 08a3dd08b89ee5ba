"""The other members, by their presence blocks in the folder.

A block that is there proves nothing: its writer may have died long ago. Only a counter that this process saw increase
is a sign of life.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hanas_core.members.documents import Presence
from hanas_core.members.registry import Registration
from hanas_core.members.witness import Witness

_FORGET_AFTER = 60.0
"""A member that is silent for this long gets no keep-alives until its counter increases again, seconds."""


class _Pulse(NamedTuple):
    """What was last seen of the counter of one member."""

    incarnation: str
    counter: int
    at: float
    """When it was first seen like this."""
    moved: bool
    """It was seen to increase, or to be another incarnation's."""


class LinkPeer(NamedTuple):
    """Where a member takes keep-alives, and the key that they are made with."""

    url: str
    key: str


class Peers:
    """The other members, and when the counter of each last increased, in own time."""

    def __init__(self, member: str) -> None:
        """Know nobody yet."""
        self._member = member
        self._pulses: dict[str, _Pulse] = {}
        self.read_at = 0.0
        """When the mail was last processed, in own time."""
        self.registrations: list[Registration] = []
        self.presence: dict[str, Presence] = {}
        self.own_block: Presence | None = None
        """What stands in the own slot."""
        self._found: tuple[Presence, ...] = ()

    def find(self, presence: Iterable[Presence | None]) -> None:
        """Keep what all members, this one too, showed before this process shows itself."""
        self._found = tuple(block for block in presence if block is not None)

    def witnesses(self, log: int) -> Iterator[Witness]:
        """Return what the members know of ``log``."""
        return (block.of(log).witness for block in (*self._found, *self.presence.values()))

    def update(self, now: float, registrations: list[Registration], presence: list[Presence | None]) -> None:
        """Process the mail; a block counts only in the slot of its own member."""
        self.read_at = now
        self.registrations = registrations
        for registration, block in zip(registrations, presence, strict=False):
            if block is None or block.member != registration.member:
                continue
            if block.member == self._member:
                self.own_block = block
                continue
            before = self._pulses.get(block.member)
            if before is None or (before.incarnation, before.counter) != (block.incarnation, block.counter):
                moved = before is not None
                self._pulses[block.member] = _Pulse(block.incarnation, block.counter, now, moved)
            self.presence[block.member] = block

    def slot_of(self, member: str) -> int | None:
        """Return the slot of ``member``, None if it is not known."""
        return next((entry.slot for entry in self.registrations if entry.member == member), None)

    def owner_of(self, slot: int) -> str | None:
        """Return the member that ``slot`` belongs to, None if it is not known."""
        return self.registrations[slot].member if 0 <= slot < len(self.registrations) else None

    def alive(self, now: float, within: float) -> list[Presence]:
        """Return the members whose counters were seen to increase within the last ``within`` seconds."""
        return [block for member, block in self.presence.items() if self._moved(member, now, within)]

    def _moved(self, member: str, now: float, within: float) -> bool:
        pulse = self._pulses[member]
        return pulse.moved and now - pulse.at <= within

    def link_key(self, member: str, incarnation: str) -> str | None:
        """Return the key for what is sent to this incarnation of ``member``; None while it does not show itself."""
        block = self.presence.get(member)
        return None if block is None or block.incarnation != incarnation else block.link_key

    def link_peers(self, now: float, within: float) -> dict[LinkPeer, bool]:
        """Return who gets keep-alives, and whether it is alive (``within`` as above).

        Without those who have left, or have been silent for a minute.
        """
        return {
            LinkPeer(block.link_url, block.link_key): self._moved(member, now, within)
            for member, block in self.presence.items()
            if not block.left and now - self._pulses[member].at <= _FORGET_AFTER
        }
