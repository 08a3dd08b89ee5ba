"""The documents of the overseer, made from a look at the folder by pure functions."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from hanas_core.members.documents import LEFT, LOG, Alert, Link, MainInfo, Presence, Report
from hanas_core.members.liveness import UNSEEN, LifeSign
from hanas_core.members.registry import Registration
from hanas_core.members.roles import LinkState, MainState, Role
from hanas_core.members.verdicts import Verdict
from hanas_overseer import alarms
from hanas_overseer.documents import ClusterDocument, MemberEntry
from hanas_overseer.observer import Observation

RECENT_TAKEOVERS = 100
"""How many of the newest epochs the cluster document holds."""

_WORST_FIRST = (LinkState.FAILED, LinkState.UP, LinkState.UNKNOWN)
_UNSETTLED = {"seen_seconds_ago": None, "applied": "", "lag_bytes": 0, "keys": 0}


def cluster(
    folder_id: str,
    observation: Observation,
    life_signs: Sequence[LifeSign],
    own_alerts: Iterable[Alert],
    reports: Mapping[str, Report],
    heard: frozenset[str] = frozenset(),
) -> ClusterDocument:
    """Return the whole document. ``life_signs`` is parallel to the registrations; a new one may have none yet.

    ``reports``: the last report of each member that is alive by its reports, but silent in the folder. ``heard``: the
    incarnations that have shown this overseer that they live; a main that is none of them is shown as not serving.
    """
    assert len(life_signs) <= len(observation.registrations)
    signs = [*life_signs, *[UNSEEN] * (len(observation.registrations) - len(life_signs))]
    main = observation.main
    if main is not None and main.incarnation not in heard:
        main = msgspec.structs.replace(main, state=MainState.ELECT)
    alive = [sign.presence for sign in signs if sign.alive is not False and sign.presence is not None]
    return ClusterDocument(
        folder_id=folder_id,
        epoch=observation.highest,
        main=main,
        members=tuple(
            member(registration, life_sign, observation.main, reports.get(registration.member), heard)
            for registration, life_sign in zip(observation.registrations, signs, strict=True)
        ),
        links=links(alive),
        takeovers=observation.takeovers[-RECENT_TAKEOVERS:],
        alerts=alarms.union([*own_alerts, *(alert for presence in alive for alert in presence.alerts)]),
    )


def member(
    registration: Registration,
    life_sign: LifeSign,
    main: MainInfo | None,
    report: Report | None = None,
    heard: frozenset[str] = frozenset(),
) -> MemberEntry:
    """Return the entry of one registered member."""
    presence = life_sign.presence
    if presence is None:
        holder = main if main is not None and main.member == registration.member else None
        return MemberEntry(
            member=registration.member,
            incarnation="" if holder is None else holder.incarnation,
            slot=registration.slot,
            advertise_url=registration.advertise_url,
            link_url=registration.link_url,
            role=Role.JOINING.value if holder is None else _main_role(holder),
            alive=False,
            seen_seconds_ago=None,
        )
    log = presence.of(LOG)
    return MemberEntry(
        member=registration.member,
        incarnation=presence.incarnation,
        slot=registration.slot,
        advertise_url=presence.advertise_url,
        link_url=presence.link_url,
        role=role(presence, main),
        alive=life_sign.alive,
        heard=presence.incarnation in heard,
        seen_seconds_ago=round(life_sign.silent, 3),
        epoch=log.epoch,
        verdict=_verdict(life_sign, presence, report),
        applied=log.applied,
        lag_bytes=log.lag_bytes,
        keys=log.keys,
    )


def _verdict(life_sign: LifeSign, presence: Presence, report: Report | None) -> Verdict:
    if life_sign.alive is not False:
        return presence.of(LOG).verdict
    return Verdict.UNKNOWN if report is None else report.verdict


def role(presence: Presence, main: MainInfo | None) -> str:
    """Return the role of a member. The claims decide who is the main, not the presence block of the member."""
    if presence.left:
        return LEFT
    if main is not None and presence.incarnation == main.incarnation:
        return _main_role(main)
    return Role.JOINING.value if presence.of(LOG).role is Role.JOINING else Role.BACKUP.value


def _main_role(main: MainInfo) -> str:
    return Role.ELECT.value if main.state is MainState.ELECT else Role.MAIN.value


def links(alive: Iterable[Presence]) -> tuple[Link, ...]:
    """Return each link once, in order. If both ends report it, the worse state counts."""
    reported = [link for presence in alive for link in presence.of(LOG).links]
    worst: dict[tuple[str, str], Link] = {}
    for link in sorted(reported, key=lambda link: _WORST_FIRST.index(link.state)):
        worst.setdefault((link.origin, link.to), link)
    return tuple(worst[ends] for ends in sorted(worst))


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
