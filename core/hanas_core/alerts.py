"""Alerts: what a person should know, raised when it lasts, cleared when it is over (docs/protocol.md, section 4)."""

from typing import NamedTuple

from hanas_core.documents import Alert
from hanas_core.verdicts import Severity, Verdict


class Condition(NamedTuple):
    """Something wrong that a member sees just now."""

    kind: Verdict
    about: str
    severity: Severity
    message: str
    advice: str
    confirm: float = 0.0
    """It must hold for this long before people are told, and be gone for this long before the alert is cleared."""


class _Watched:
    def __init__(self, condition: Condition, now: float) -> None:
        self.condition = condition
        self.since = now
        self.seen = now
        self.alert: Alert | None = None


class AlertBook:
    """The alerts of one member."""

    def __init__(self, member: str) -> None:
        """Begin with none."""
        self._member = member
        self._watched: dict[tuple[Verdict, str], _Watched] = {}

    @property
    def open(self) -> tuple[Alert, ...]:
        """The alerts that are raised, oldest first."""
        return tuple(watched.alert for watched in self._watched.values() if watched.alert is not None)

    def update(self, now: float, wall: str, conditions: list[Condition]) -> None:
        """Raise and clear by what holds now. ``now``: monotonic seconds; ``wall``: the wall clock, for people."""
        for condition in conditions:
            watched = self._watched.setdefault((condition.kind, condition.about), _Watched(condition, now))
            watched.seen = now
            if watched.alert is None and now - watched.since >= condition.confirm:
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
        present = {(condition.kind, condition.about) for condition in conditions}
        for key, watched in list(self._watched.items()):
            gone = key not in present
            if gone and (watched.alert is None or now - watched.seen >= watched.condition.confirm):
                del self._watched[key]
