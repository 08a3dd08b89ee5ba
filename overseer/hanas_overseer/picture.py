"""The documents of the overseer, made from a look at the folder by pure functions."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from hanas_core.members.documents import LEFT, LOG, Alert, Link, MainInfo, Presence, Report
from hanas_core.members.mailboxes import Registration
from hanas_core.members.roles import LinkState, MainState, Role
from hanas_core.members.verdicts import Verdict
from hanas_overseer import alarms
from hanas_overseer.documents import ClusterDocument, EpochEntry, MemberEntry
from hanas_overseer.liveness import UNSEEN, LifeSign
from hanas_overseer.observer import Observation

RECENT_TAKEOVERS = 100
"""How many of the newest epochs the cluster document holds."""

_WORST_FIRST = {LinkState.FAILED: 0, LinkState.UP: 1}
_UNSETTLED = {"seen_seconds_ago": None, "applied": "", "lag_bytes": 0, "keys": 0}


def cluster(
    folder_id: str,
    observation: Observation,
    life_signs: Sequence[LifeSign],
    own_alerts: Iterable[Alert],
    reports: Mapping[str, Report],
) -> ClusterDocument:
    """Return the whole document. ``life_signs`` is parallel to the registrations; a new one may have none yet.

    ``reports``: the last report of each member that is alive by its reports, but silent in the folder.
    """
    assert len(life_signs) <= len(observation.registrations)
    seen = [*life_signs, *[UNSEEN] * (len(observation.registrations) - len(life_signs))]
    alive = [life_sign.presence for life_sign in seen if life_sign.alive and life_sign.presence is not None]
    return ClusterDocument(
        folder_id=folder_id,
        epoch=observation.highest,
        main=observation.main,
        members=tuple(
            member(registration, life_sign, observation.main, reports.get(registration.member))
            for registration, life_sign in zip(observation.registrations, seen, strict=True)
        ),
        links=links(alive),
        takeovers=recent(observation.takeovers),
        alerts=alarms.union([*own_alerts, *(alert for presence in alive for alert in presence.alerts)]),
    )


def member(
    registration: Registration, life_sign: LifeSign, main: MainInfo | None, report: Report | None = None
) -> MemberEntry:
    """Return the entry of one registered member."""
    presence = life_sign.presence
    if presence is None:
        is_main = main is not None and main.member == registration.member
        return MemberEntry(
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
    return MemberEntry(
        member=registration.member,
        incarnation=presence.incarnation,
        slot=registration.slot,
        advertise_url=presence.advertise_url,
        link_url=presence.link_url,
        role=role(presence, main),
        alive=life_sign.alive,
        seen_seconds_ago=None if life_sign.silent is None else round(life_sign.silent, 3),
        epoch=shown.epoch,
        verdict=_verdict(life_sign, presence, report),
        applied=shown.applied,
        lag_bytes=shown.lag_bytes,
        keys=shown.keys,
    )


def _verdict(life_sign: LifeSign, presence: Presence, report: Report | None) -> Verdict:
    if life_sign.alive:
        return presence.of(LOG).verdict
    return Verdict.UNKNOWN if report is None else report.verdict


def role(presence: Presence, main: MainInfo | None) -> str:
    """Return the role of a member. The claims decide who is the main, not the presence block of the member."""
    if presence.left:
        return LEFT
    if main is not None and presence.incarnation == main.incarnation:
        return _main_role(main)
    shown = presence.of(LOG).role
    return Role.JOINING.value if shown is Role.JOINING else Role.BACKUP.value


def _main_role(main: MainInfo) -> str:
    return Role.ELECT.value if main.state is MainState.ELECT else Role.MAIN.value


def links(alive: Iterable[Presence]) -> tuple[Link, ...]:
    """Return each link once, in order. Where both ends show it, the worse state counts."""
    worst: dict[tuple[str, str], Link] = {}
    for link in (link for presence in alive for link in presence.of(LOG).links):
        other = worst.get((link.origin, link.to))
        if other is None or _rank(link) < _rank(other):
            worst[link.origin, link.to] = link
    return tuple(worst[ends] for ends in sorted(worst))


def _rank(link: Link) -> int:
    return _WORST_FIRST.get(link.state, len(_WORST_FIRST))


def recent(takeovers: tuple[EpochEntry, ...]) -> tuple[EpochEntry, ...]:
    """Return the newest entries."""
    return takeovers[-RECENT_TAKEOVERS:]


def settled(document: ClusterDocument) -> bytes:
    """Return the document without ages, positions and other values that change all the time, for a comparison."""
    return msgspec.json.encode(
        msgspec.structs.replace(
            document,
            members=tuple(msgspec.structs.replace(member, **_UNSETTLED) for member in document.members),
            links=tuple(msgspec.structs.replace(link, since_seconds=0.0) for link in document.links),
            alerts=tuple(msgspec.structs.replace(alert, message="") for alert in document.alerts),
        )
    )
