"""From what was seen in the folder to the documents that are shown: pure functions."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from hanas_core.members.documents import LEFT, LOG, Alert, Link, MainInfo, Presence, Report
from hanas_core.members.mailboxes import Registration
from hanas_core.members.roles import LinkState, MainState, Role
from hanas_core.members.verdicts import Verdict
from hanas_overseer import alarms
from hanas_overseer.documents import Cluster, Member, Takeover
from hanas_overseer.liveness import UNSEEN, Sighting
from hanas_overseer.observer import Sight

RECENT_TAKEOVERS = 100
"""How many of the newest epochs the cluster document holds."""

_WORST_FIRST = {LinkState.FAILED: 0, LinkState.UP: 1}
_UNSETTLED = {"seen_seconds_ago": None, "applied": "", "lag_bytes": 0, "keys": 0}


def cluster(
    folder_id: str,
    sight: Sight,
    sightings: Sequence[Sighting],
    own_alerts: Iterable[Alert],
    reports: Mapping[str, Report],
) -> Cluster:
    """Return the whole document. ``sightings`` is parallel to the registrations; missing ones were never seen.

    ``reports``: what those told over the network who live and are silent in the folder only.
    """
    seen = [*sightings, *[UNSEEN] * (len(sight.registrations) - len(sightings))]
    alive = [sighting.presence for sighting in seen if sighting.alive and sighting.presence is not None]
    return Cluster(
        folder_id=folder_id,
        epoch=sight.highest,
        main=sight.main,
        members=tuple(
            member(registration, sighting, sight.main, reports.get(registration.member))
            for registration, sighting in zip(sight.registrations, seen, strict=True)
        ),
        links=links(alive),
        takeovers=recent(sight.takeovers),
        alerts=alarms.union([*own_alerts, *(alert for presence in alive for alert in presence.alerts)]),
    )


def member(
    registration: Registration, sighting: Sighting, main: MainInfo | None, report: Report | None = None
) -> Member:
    """Return the entry of one registered member."""
    presence = sighting.presence
    if presence is None:
        is_main = main is not None and main.member == registration.member
        return Member(
            member=registration.member,
            incarnation=main.incarnation if is_main and main is not None else "",
            slot=registration.slot,
            advertise_url=registration.advertise_url,
            link_url=registration.link_url,
            role=_main_role(main) if is_main and main is not None else Role.JOINING.value,
            alive=False,
            seen_seconds_ago=None,
        )
    shown = presence.of(LOG)
    return Member(
        member=registration.member,
        incarnation=presence.incarnation,
        slot=registration.slot,
        advertise_url=presence.advertise_url,
        link_url=presence.link_url,
        role=role(presence, main),
        alive=sighting.alive,
        seen_seconds_ago=None if sighting.silent is None else round(sighting.silent, 3),
        epoch=shown.epoch,
        verdict=_verdict(sighting, presence, report),
        applied=shown.applied,
        lag_bytes=shown.lag_bytes,
        keys=shown.keys,
    )


def _verdict(sighting: Sighting, presence: Presence, report: Report | None) -> Verdict:
    if sighting.alive:
        return presence.of(LOG).verdict
    return Verdict.UNKNOWN if report is None else report.verdict


def role(presence: Presence, main: MainInfo | None) -> str:
    """Return what a member is. The claims decide who is the main, not what a member says of itself."""
    if presence.left:
        return LEFT
    if main is not None and presence.incarnation == main.incarnation:
        return _main_role(main)
    shown = presence.of(LOG).role
    return Role.JOINING.value if shown is Role.JOINING else Role.BACKUP.value


def _main_role(main: MainInfo) -> str:
    return Role.ELECT.value if main.state is MainState.ELECT else Role.MAIN.value


def links(alive: Iterable[Presence]) -> tuple[Link, ...]:
    """Return every link once, in order. Where both ends tell of it, the worse state counts."""
    worst: dict[tuple[str, str], Link] = {}
    for link in (link for presence in alive for link in presence.of(LOG).links):
        known = worst.get((link.origin, link.to))
        if known is None or _badness(link) < _badness(known):
            worst[link.origin, link.to] = link
    return tuple(worst[ends] for ends in sorted(worst))


def _badness(link: Link) -> int:
    return _WORST_FIRST.get(link.state, len(_WORST_FIRST))


def recent(takeovers: tuple[Takeover, ...]) -> tuple[Takeover, ...]:
    """Return the newest entries."""
    return takeovers[-RECENT_TAKEOVERS:]


def settled(document: Cluster) -> bytes:
    """Return the document without ages, positions and other things that move all the time: to see a real change."""
    return msgspec.json.encode(
        msgspec.structs.replace(
            document,
            members=tuple(msgspec.structs.replace(member, **_UNSETTLED) for member in document.members),
            links=tuple(msgspec.structs.replace(link, since_seconds=0.0) for link in document.links),
            alerts=tuple(msgspec.structs.replace(alert, message="") for alert in document.alerts),
        )
    )
