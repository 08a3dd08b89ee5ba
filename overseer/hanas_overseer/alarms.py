"""Alerts: those that the overseer raises itself, and the union of all. Pure, but for since when they are open."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from hanas_core.members.documents import LOG, Alert, MainInfo, Presence, Report
from hanas_core.members.verdicts import TAKEOVER_VERDICTS, Severity, Verdict
from hanas_overseer.liveness import Sighting

OVERSEER = "overseer"
"""Who says it."""
FOLDER = "folder"
_ORDER = {Severity.CRITICAL: 0, Severity.URGENT: 1, Severity.NOTICE: 2}


def union(alerts: Iterable[Alert]) -> tuple[Alert, ...]:
    """Return every alert once, the most severe first, then the oldest."""
    unique = {alert.id: alert for alert in reversed(list(alerts))}
    return tuple(sorted(unique.values(), key=lambda alert: (_ORDER[alert.severity], alert.since, alert.id)))


def silences(
    sightings: Sequence[Sighting], main: MainInfo | None, reports: Mapping[str, Report], *, now: str
) -> list[Alert]:
    """Return the alerts about each member that has fallen silent in the folder. ``now``: wall clock, ISO 8601.

    ``reports``: what those told over the network who live and are silent in the folder only.
    """
    alive = [sighting.presence for sighting in sightings if sighting.alive and sighting.presence is not None]
    suspected = any(presence.of(LOG).verdict in TAKEOVER_VERDICTS for presence in alive)
    alerts: list[Alert] = []
    for sighting in sightings:
        presence = sighting.presence
        if presence is None or sighting.alive or presence.left:
            continue
        if presence.member in reports:
            alerts.extend(reports[presence.member].alerts or [_mute(presence, now)])
            continue
        seconds = f"{sighting.silent or 0.0:.0f} s"
        silent = f"has been silent for {seconds}" if sighting.moved else f"has been silent for {seconds} or longer"
        is_main = main is not None and presence.incarnation == main.incarnation
        alerts.append(
            Alert(
                id=f"silent/{presence.member}/{presence.incarnation}",
                severity=Severity.CRITICAL if is_main else Severity.URGENT,
                kind=Verdict.PRIMARY_FAILED if is_main and suspected else Verdict.UNKNOWN,
                member=OVERSEER,
                about=presence.member,
                message=f"the main {presence.member} {silent}" if is_main else f"{presence.member} {silent}",
                advice=_advice(presence.member, is_main=is_main, alone=not alive),
                since=now,
            )
        )
    return alerts


def _mute(presence: Presence, now: str) -> Alert:
    """Return the alert about a member that lives and knows of nothing wrong, but is not seen in the folder."""
    return Alert(
        id=f"mute/{presence.member}/{presence.incarnation}",
        severity=Severity.CRITICAL,
        kind=Verdict.FOLDER_UNAVAILABLE,
        member=OVERSEER,
        about=presence.member,
        message=f"{presence.member} lives, but what it writes to the communication folder is not seen here",
        advice=f"check that {presence.member} and the overseer mount the same volume, and its caches",
        since=now,
    )


def _advice(member: str, *, is_main: bool, alone: bool) -> str:
    if alone:
        return (
            f"No worker is left, so nothing is served. Start {member} or any other worker; "
            "no acknowledged write is lost."
        )
    if is_main:
        return (
            f"A backup takes over by itself once it can prove that the main failed. If none does within a minute, "
            f"look at {member} and at the folder as the backups see it."
        )
    return (
        f"The cluster serves without it, with less redundancy. Look at {member}'s process, node and mount; restart it."
    )


def unreadable(reason: str, *, now: str) -> Alert:
    """Return the alert that the overseer cannot read the folder. ``reason``: the error in words."""
    return Alert(
        id=f"folder/{OVERSEER}",
        severity=Severity.CRITICAL,
        kind=Verdict.FOLDER_UNAVAILABLE,
        member=OVERSEER,
        about=FOLDER,
        message=f"the overseer cannot read the communication folder: {reason}",
        advice=(
            "What is shown is the last that was seen. Look at the volume, its mount and the file server; "
            "takeovers wait until the folder answers."
        ),
        since=now,
    )


class Openings:
    """Remembers since when each of the overseer's own alerts is open."""

    def __init__(self) -> None:
        """No alert is open."""
        self._since: dict[str, str] = {}

    def stamp(self, alerts: Iterable[Alert]) -> list[Alert]:
        """Return the alerts, all that are open now, each with the time at which it was first given."""
        alerts = list(alerts)
        self._since = {alert.id: self._since.get(alert.id, alert.since) for alert in alerts}
        return [msgspec.structs.replace(alert, since=self._since[alert.id]) for alert in alerts]
