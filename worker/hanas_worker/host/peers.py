"""The other members, by their presence blocks in the folder."""

from typing import NamedTuple

from hanas_core.members.documents import Presence
from hanas_core.members.mailboxes import Registration

_FORGET_AFTER = 60.0
"""A member that is silent for this long gets no keep-alives until its counter increases again, seconds."""


class LinkPeer(NamedTuple):
    """Where a member takes keep-alives, and the key that they are made with."""

    url: str
    key: str


class Peers:
    """The other members, and when the counter of each last increased, by the own clock."""

    def __init__(self, member: str) -> None:
        """Know nobody yet."""
        self._member = member
        self._lives: dict[str, tuple[int, float]] = {}
        self.read_at = 0.0
        """When the mail was last processed, by the own clock."""
        self.registrations: list[Registration] = []
        self.presence: dict[str, Presence] = {}

    def update(self, now: float, registrations: list[Registration], presence: list[Presence | None]) -> None:
        """Process the mail; a block counts only in the slot of its own member."""
        self.read_at = now
        self.registrations = registrations
        for registration, block in zip(registrations, presence, strict=False):
            if block is None or block.member != registration.member or block.member == self._member:
                continue
            life = hash((block.incarnation, block.counter))
            if self._lives.get(block.member, (None, 0.0))[0] != life:
                self._lives[block.member] = (life, now)
            self.presence[block.member] = block

    def slot_of(self, member: str) -> int | None:
        """Return the slot of ``member``, None if it is not known."""
        return next((entry.slot for entry in self.registrations if entry.member == member), None)

    def alive(self, now: float, within: float) -> list[Presence]:
        """Return the members whose counters increased within the last ``within`` seconds."""
        return [block for member, block in self.presence.items() if now - self._lives[member][1] <= within]

    def link_key(self, member: str, incarnation: str) -> str | None:
        """Return the key for what is sent to this incarnation of ``member``; None while it does not show itself."""
        block = self.presence.get(member)
        return None if block is None or block.incarnation != incarnation else block.link_key

    def link_peers(self, now: float) -> dict[str, LinkPeer]:
        """Return who gets keep-alives, by member, without those who have left."""
        alive = self.alive(now, _FORGET_AFTER)
        return {block.member: LinkPeer(block.link_url, block.link_key) for block in alive if not block.left}
