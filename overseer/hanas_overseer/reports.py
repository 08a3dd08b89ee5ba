"""The reports that workers send over the network in case the folder fails them (docs/protocol.md, section 4).

A report explains why a member is silent in the folder, and decides nothing. Reports are kept for a few seconds, in
memory only: after a start, the overseer waits for the next ones.
"""

from collections.abc import Mapping, Sequence

from hanas_core.members.documents import Report
from hanas_core.members.liveness import LifeSign
from hanas_core.members.timing import Timing

_MOST_MEMBERS = 256
_FRESH_INTERVALS = 6
"""A report is valid for this many of the intervals (`isolation_after` / 2) at which workers send one."""
_LEAD_INTERVALS = 2
"""A report counts if it is newer than the last change of the presence block by this many presence intervals: the last
report of a killed worker never is."""


class Reports:
    """The last report of each member."""

    def __init__(self, timing: Timing) -> None:
        """Begin without a report."""
        self._lead = _LEAD_INTERVALS * timing.presence_interval
        self._fresh_for = _FRESH_INTERVALS * timing.isolation_after / 2
        self._latest: dict[str, tuple[float, Report]] = {}

    def take(self, now: float, report: Report) -> None:
        """Keep a report that arrived at ``now``, monotonic seconds."""
        self._latest = {name: entry for name, entry in self._latest.items() if now - entry[0] <= self._fresh_for}
        if report.member in self._latest or len(self._latest) < _MOST_MEMBERS:
            self._latest[report.member] = now, report

    def incarnations(self, now: float) -> frozenset[str]:
        """Return the incarnations that have reported lately."""
        return frozenset(report.incarnation for at, report in self._latest.values() if now - at <= self._fresh_for)

    def of_the_silent(self, now: float, life_signs: Sequence[LifeSign]) -> Mapping[str, Report]:
        """Return, by member, the reports of those that are alive but silent in the folder."""
        reports = {}
        for presence, alive, silent, _ in life_signs:
            if alive is not False or presence is None or presence.member not in self._latest:
                continue
            at, report = self._latest[presence.member]
            age = now - at
            is_newer = silent - age > self._lead
            if report.incarnation == presence.incarnation and age <= self._fresh_for and is_newer:
                reports[presence.member] = report
        return reports
