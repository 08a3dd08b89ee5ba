"""Alerts: what a person should know, raised when it lasts, cleared when it is over (docs/protocol.md, section 4)."""

from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from hanas_core.members.documents import Alert
from hanas_core.members.verdicts import Severity, Verdict


class Condition(NamedTuple):
    """Something wrong that a member sees just now."""

    kind: Verdict
    about: str
    severity: Severity
    message: str
    advice: str
    confirm: float = 0.0
    """It must hold for this long before an alert is raised, and be gone for this long before that is cleared; s."""


_REMEMBERED_CONFIRMS = 30
"""How long the beginning of a condition is remembered, in multiples of its ``confirm``."""
_FLAPPING_ONSETS = 3
"""A condition that began this often within what is remembered flaps."""
_FLAPS = " (it comes and goes)"


@dataclass
class _Watched:
    """One kind of trouble about one member, from its first sight until it is forgotten."""

    condition: Condition
    onsets: list[float] = field(default_factory=list)
    """When it began, as far as that is remembered, oldest first."""
    holds: bool = False
    seen: float = 0.0
    raised_at: float = 0.0
    alert: Alert | None = None

    @property
    def memory(self) -> float:
        """For how long an onset counts, seconds."""
        return self.condition.confirm * _REMEMBERED_CONFIRMS

    @property
    def flaps(self) -> bool:
        """It comes and goes."""
        return len(self.onsets) >= _FLAPPING_ONSETS

    @property
    def calm(self) -> float:
        """How long it must be gone before the alert is cleared: doubled by each onset while it flaps. Seconds."""
        doublings = len(self.onsets) - 1 if self.flaps else 0
        return min(self.condition.confirm * 2.0**doublings, self.memory)

    def look(self, now: float, condition: Condition) -> None:
        """Take note that the condition holds now."""
        self.onsets = [onset for onset in self.onsets if now - onset <= self.memory]
        if not self.holds or not self.onsets:
            self.onsets.append(now)
        self.holds, self.seen, self.condition = True, now, condition


class AlertBook:
    """The alerts of one member.

    What flaps is damped as routers do with routes (RFC 2439): three onsets within 30 ``confirm`` raise one alert, also
    if none of them lasted, and each further one doubles how long it must be gone before that alert is cleared.
    """

    def __init__(self, member: str) -> None:
        """Begin with none."""
        self._member = member
        self._watched: dict[tuple[Verdict, str], _Watched] = {}

    @property
    def open(self) -> tuple[Alert, ...]:
        """The alerts that are raised, oldest first."""
        by_age = sorted(self._watched.values(), key=lambda watched: watched.raised_at)
        return tuple(watched.alert for watched in by_age if watched.alert is not None)

    def update(self, now: float, wall: str, conditions: list[Condition]) -> None:
        """Raise and clear by what holds now. ``now``: monotonic seconds; ``wall``: the wall clock, for people."""
        for condition in conditions:
            watched = self._watched.setdefault((condition.kind, condition.about), _Watched(condition))
            watched.look(now, condition)
            if watched.alert is None and (now - watched.onsets[-1] >= condition.confirm or watched.flaps):
                watched.raised_at = now
                watched.alert = Alert(
                    id=f"{self._member}:{condition.kind}:{condition.about}:{wall}",
                    severity=condition.severity,
                    kind=condition.kind,
                    member=self._member,
                    about=condition.about,
                    message=condition.message,
                    advice=condition.advice,
                    since=wall,
                )
            if watched.alert is not None and watched.flaps and not watched.alert.message.endswith(_FLAPS):
                watched.alert = msgspec.structs.replace(watched.alert, message=condition.message + _FLAPS)
        present = {(condition.kind, condition.about) for condition in conditions}
        for key, watched in list(self._watched.items()):
            if key in present:
                continue
            watched.holds = False
            gone_for = now - watched.seen
            if gone_for >= watched.calm:
                watched.alert = None
            if gone_for >= watched.memory:
                del self._watched[key]
