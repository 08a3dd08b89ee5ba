"""What workers told over the network: the word of those whose folder does not carry it (docs/protocol.md, section 4).

It explains a silence in the folder and decides nothing. It is kept in memory only, for a few seconds: an overseer
that was just started hears it again with the next report.
"""

from collections.abc import Mapping, Sequence

from hanas_core.members.documents import Report
from hanas_core.members.timing import Timing
from hanas_overseer.liveness import Observation

_MOST_MEMBERS = 256
_FRESH_INTERVALS = 6
"""A report is believed for this many of the intervals, `isolation_after` / 2, in which workers send one."""
_UNSHOWN_INTERVALS = 2
"""A report counts if it came this many presence intervals after the last sign in the folder: whoever was killed just
after a report did not outlive its own presence by so much."""


class Reports:
    """The last report of each member."""

    def __init__(self, timing: Timing) -> None:
        """Know nothing yet."""
        self._unshown_for = _UNSHOWN_INTERVALS * timing.presence_interval
        self._fresh_for = _FRESH_INTERVALS * timing.isolation_after / 2
        self._taken: dict[str, tuple[float, Report]] = {}

    def take(self, now: float, report: Report) -> None:
        """Keep a report that came at ``now``, monotonic seconds."""
        self._taken = {name: taken for name, taken in self._taken.items() if now - taken[0] <= self._fresh_for}
        if report.member in self._taken or len(self._taken) < _MOST_MEMBERS:
            self._taken[report.member] = now, report

    def of_the_silent(self, now: float, sightings: Sequence[Observation]) -> Mapping[str, Report]:
        """Return the reports of those who live but are silent in the folder, by member."""
        found = {}
        for presence, alive, silent, _ in sightings:
            if alive or presence is None or silent is None or presence.member not in self._taken:
                continue
            at, report = self._taken[presence.member]
            age = now - at
            told_later = silent - age > self._unshown_for
            if report.incarnation == presence.incarnation and age <= self._fresh_for and told_later:
                found[presence.member] = report
        return found
