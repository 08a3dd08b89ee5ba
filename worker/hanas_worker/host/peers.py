"""Who else is there, from what the members show of themselves in the folder."""

from hanas_core.members.documents import Presence
from hanas_core.members.mailboxes import Registration

_FORGET_AFTER = 60.0
"""A member that has been silent for this long gets no more keep-alives until it moves again, seconds."""


class Peers:
    """The other members and when each was last seen to move, on one's own clock."""

    def __init__(self, member: str) -> None:
        """Know nobody yet."""
        self._member = member
        self._seen: dict[str, tuple[int, float]] = {}
        self.registrations: list[Registration] = []
        self.presence: dict[str, Presence] = {}

    def update(self, now: float, registrations: list[Registration], presence: list[Presence | None]) -> None:
        """Take in what was read; a block counts only in the slot of its own member."""
        self.registrations = registrations
        for registration, shown in zip(registrations, presence, strict=False):
            if shown is None or shown.member != registration.member or shown.member == self._member:
                continue
            mark = hash((shown.incarnation, shown.counter))
            if self._seen.get(shown.member, (None, 0.0))[0] != mark:
                self._seen[shown.member] = (mark, now)
            self.presence[shown.member] = shown

    def slot_of(self, member: str) -> int | None:
        """Return the slot of ``member``, None if it is not known."""
        return next((known.slot for known in self.registrations if known.member == member), None)

    def alive(self, now: float, within: float) -> list[Presence]:
        """Return the members that moved within the last ``within`` seconds."""
        return [shown for member, shown in self.presence.items() if now - self._seen[member][1] <= within]

    def link_urls(self, now: float) -> dict[str, str]:
        """Return where keep-alives go: member to URL. Who has left is not there to hear them."""
        return {shown.member: shown.link_url for shown in self.alive(now, _FORGET_AFTER) if not shown.left}
