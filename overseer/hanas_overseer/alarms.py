"""The alerts that the overseer raises itself, and the union of all alerts."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from hanas_core.members.documents import LOG, Alert, MainInfo, Presence, Report
from hanas_core.members.liveness import LifeSign
from hanas_core.members.verdicts import TAKEOVER_VERDICTS, Severity, Verdict
from hanas_serving import admission, credentials

OVERSEER = "overseer"
"""The ``member`` of the overseer's own alerts."""
FOLDER = "folder"
"""The ``about`` of an alert that concerns no member."""
_ORDER = {Severity.CRITICAL: 0, Severity.URGENT: 1, Severity.NOTICE: 2}


def union(alerts: Iterable[Alert]) -> tuple[Alert, ...]:
    """Return each alert once, the most severe first, then the oldest."""
    unique = {alert.id: alert for alert in reversed(list(alerts))}
    return tuple(sorted(unique.values(), key=lambda alert: (_ORDER[alert.severity], alert.since, alert.id)))


def silences(
    life_signs: Sequence[LifeSign], main: MainInfo | None, reports: Mapping[str, Report], *, now: str
) -> list[Alert]:
    """Return the alerts about each member whose presence counter no longer increases. ``now``: wall clock, ISO 8601.

    ``reports``: the last report of each member that is alive by its reports, but silent in the folder.
    """
    alive = [sign.presence for sign in life_signs if sign.alive is not False and sign.presence is not None]
    suspected = any(presence.of(LOG).verdict in TAKEOVER_VERDICTS for presence in alive)
    alerts: list[Alert] = []
    for life_sign in life_signs:
        presence = life_sign.presence
        if presence is None or life_sign.alive is not False or presence.left:
            continue
        if presence.member in reports:
            alerts.extend(reports[presence.member].alerts or [_mute(presence, now)])
            continue
        is_main = main is not None and presence.incarnation == main.incarnation
        name = f"the main {presence.member}" if is_main else presence.member
        duration = f"{life_sign.silent:.0f} s" + ("" if life_sign.moved else " or longer")
        alerts.append(
            Alert(
                id=f"silent/{presence.member}/{presence.incarnation}",
                severity=Severity.CRITICAL if is_main else Severity.URGENT,
                kind=Verdict.PRIMARY_FAILED if is_main and suspected else Verdict.UNKNOWN,
                member=OVERSEER,
                about=presence.member,
                message=f"{name} has been silent for {duration}",
                advice=_advice(presence.member, is_main=is_main, alone=not alive),
                since=now,
            )
        )
    return alerts


def _mute(presence: Presence, now: str) -> Alert:
    """Return the alert about a member that reports no alert, but whose writes are not visible in the folder."""
    return Alert(
        id=f"mute/{presence.member}/{presence.incarnation}",
        severity=Severity.CRITICAL,
        kind=Verdict.FOLDER_UNAVAILABLE,
        member=OVERSEER,
        about=presence.member,
        message=f"{presence.member} is alive, but the overseer does not see what it writes to the communication folder",
        advice=f"Check that {presence.member} and the overseer mount the same volume, and how they cache it.",
        since=now,
    )


def _advice(member: str, *, is_main: bool, alone: bool) -> str:
    if alone:
        return (
            f"No worker is alive, so no request is served. Start {member} or any other worker; "
            "no acknowledged write is lost."
        )
    if is_main:
        return (
            f"A backup takes over automatically once it has proof that the main failed. If none does within a minute, "
            f"check {member}, and whether the backups can read and write the folder."
        )
    return (
        f"The cluster serves clients without it, with less redundancy. Check the process, node and mount of {member}, "
        "then restart it."
    )


def leaderless(main: MainInfo, seconds: float, *, now: str) -> Alert:
    """Return the alert that no epoch has served for so many ``seconds``. ``main``: who holds the highest claim."""
    return Alert(
        id=f"leaderless/{OVERSEER}",
        severity=Severity.CRITICAL,
        kind=Verdict.TAKEOVER_FAILED,
        member=OVERSEER,
        about=main.member,
        message=f"{main.member} claimed epoch {main.epoch} but does not serve; nobody has served for {seconds:.0f} s",
        advice=(
            f"Look at the alerts and the log of {main.member} and of the other workers. A large log takes its time to "
            "be read; one that is damaged stops every takeover until 'hanas fsck' has named the damage and it is "
            "restored."
        ),
        since=now,
    )


def unreadable(reason: str, *, now: str) -> Alert:
    """Return the alert that the overseer cannot read the folder. ``reason``: the text of the error."""
    return Alert(
        id=f"folder/{OVERSEER}",
        severity=Severity.CRITICAL,
        kind=Verdict.FOLDER_UNAVAILABLE,
        member=OVERSEER,
        about=FOLDER,
        message=f"the overseer cannot read the communication folder: {reason}",
        advice=(
            "The overseer shows the last state that it read. Check the volume, its mount and the file server; "
            "takeovers wait until the folder can be read."
        ),
        since=now,
    )


def crowded(trouble: str, *, now: str) -> Alert:
    """Return the alert that clients open more connections than the overseer may have. ``trouble``: how that shows."""
    message = f"the overseer has too many connections: {trouble}"
    return _about_itself("connections", Verdict.CONNECTIONS_EXHAUSTED, message, admission.ADVICE, now)


def uncredited(trouble: str, *, now: str) -> Alert:
    """Return the alert that a file of secrets or tokens has changed and cannot be used. ``trouble``: what is wrong."""
    message = f"the overseer goes on with the secrets, tokens and certificates that it had before: {trouble}"
    return _about_itself("credentials", Verdict.UNKNOWN, message, credentials.ADVICE, now)


def _about_itself(subject: str, kind: Verdict, message: str, advice: str, now: str) -> Alert:
    return Alert(
        id=f"{subject}/{OVERSEER}",
        severity=Severity.URGENT,
        kind=kind,
        member=OVERSEER,
        about=OVERSEER,
        message=message,
        advice=advice,
        since=now,
    )


class Openings:
    """The time at which each of the overseer's own alerts was opened."""

    def __init__(self) -> None:
        """Begin without an open alert."""
        self._since: dict[str, str] = {}

    def stamp(self, alerts: Iterable[Alert]) -> list[Alert]:
        """Return ``alerts``, which are all that are open now, each with the time at which it was opened."""
        alerts = list(alerts)
        self._since = {alert.id: self._since.get(alert.id, alert.since) for alert in alerts}
        return [msgspec.structs.replace(alert, since=self._since[alert.id]) for alert in alerts]
