"""The sessions of forwarders, and what their latest writes changed (docs/protocol.md, section 3.10).

Changed by records of the log only, in their order. Whoever has read the records of all that a table holds has this
table, whatever older records were left out: of each member the session that was opened last, of these the latest
`MOST_SESSIONS`, and of each session the numbers from the highest ``lowest`` on. That is why compaction may drop the
other records.
"""

import msgspec

from hanas_core.log.positions import Version
from hanas_core.log.records import Forwarded

MOST_SESSIONS = 1024
"""When there are more, the one that was opened first ends."""
WINDOW = 1024
"""The number of a forwarded write lies less than this above the lowest whose outcome may still be asked for."""


def in_window(number: int, lowest: int) -> bool:
    """Return whether a write may have this number while ``lowest`` is the lowest that may still be asked for."""
    return lowest <= number < lowest + WINDOW


class Change(msgspec.Struct, frozen=True):
    """What a forwarded write changed."""

    version: Version
    created: bool
    deleted: bool
    revision: int = 0
    """Of the store behind it; 0: not known here, as for whoever has read it from a snapshot or a merged segment."""


class Session:
    """A forwarder's session."""

    def __init__(self, member: str, lowest: int = 1) -> None:
        """Begin without a write. ``lowest``: see `Forwarded`."""
        self.member = member
        self.lowest = lowest
        self.changes: dict[int, Change] = {}
        """By the numbers of the writes, from ``lowest`` on."""

    def note(self, number: int, lowest: int, change: Change) -> None:
        """Note what a write changed, and that nobody asks about numbers below ``lowest`` any more."""
        if lowest > self.lowest:
            if lowest - self.lowest > WINDOW:
                self.changes = {old: kept for old, kept in self.changes.items() if old >= lowest}
            else:
                for old in range(self.lowest, lowest):
                    self.changes.pop(old, None)
            self.lowest = lowest
        if number >= self.lowest:
            self.changes[number] = change


class Sessions:
    """All sessions, in the order in which they were opened."""

    def __init__(self) -> None:
        """Begin with none."""
        self._sessions: dict[Version, Session] = {}

    def get(self, session: Version) -> Session | None:
        """Return a session, None if it has ended."""
        return self._sessions.get(session)

    def all(self) -> list[tuple[Version, Session]]:
        """Return all of them with their ids, the one that was opened first at the beginning."""
        return list(self._sessions.items())

    def copy(self) -> "Sessions":
        """Return a table of the same sessions, in which others can be opened."""
        table = Sessions()
        table._sessions = dict(self._sessions)
        return table

    def open(self, session: Version, member: str) -> None:
        """Begin a session, behind all others; the one that ``member`` had before ends."""
        self.put(session, Session(member))

    def put(self, session: Version, content: Session) -> None:
        """Begin a session that has ``content`` already, see `open`."""
        sessions = self._sessions
        for other in [other for other, known in sessions.items() if known.member == content.member]:
            del sessions[other]
        sessions[session] = content
        if len(sessions) > MOST_SESSIONS:
            del sessions[next(iter(sessions))]

    def note(self, forwarded: Forwarded, change: Change) -> None:
        """Note what a forwarded write changed; nothing if its session has ended."""
        session = self._sessions.get(forwarded.session)
        if session is not None:
            session.note(forwarded.number, forwarded.lowest, change)

    def check_invariants(self) -> None:
        """Assert what must hold between two records."""
        sessions = self._sessions
        assert len(sessions) <= MOST_SESSIONS
        assert list(sessions) == sorted(sessions)
        assert len({session.member for session in sessions.values()}) == len(sessions)
        for session in sessions.values():
            assert all(in_window(number, session.lowest) for number in session.changes)
