"""Events of a cluster in one line each, for `hanas events` and the lab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

import msgspec

from hanas_client.documents import Alert, Cluster, Member, Takeover, decode
from hanas_serving.events import Event

Tone = Literal["good", "bad", "urgent", "plain"]
D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class Sentence:
    """One line for people, and its tone."""

    text: str
    tone: Tone = "plain"


class Narrator:
    """Describes events. A `cluster` event has the whole document; its sentences are the changes since the last one."""

    def __init__(self) -> None:
        self._cluster: Cluster | None = None

    def describe(self, event: Event) -> list[Sentence]:
        """Return the sentences for one event, none without a change. Raises BadAnswer for an invalid document."""
        match event.name:
            case "cluster":
                cluster = _document(event, Cluster)
                previous, self._cluster = self._cluster, cluster
                return differences(previous, cluster)
            case "takeover":
                return [takeover_sentence(_document(event, Takeover))]
            case "alert":
                return [alert_sentence(_document(event, Alert))]
            case "alert-cleared":
                alert = _document(event, Alert)
                return [Sentence(f"cleared: {alert.message or alert.kind or alert.id}", "good")]
            case _:
                return []


def differences(previous: Cluster | None, present: Cluster) -> list[Sentence]:
    """Return the differences between two documents; for the first one, a summary."""
    if previous is None:
        return [_summary(present)]
    return [*_main_changes(previous, present), *_member_changes(previous, present), *_link_changes(previous, present)]


def takeover_sentence(takeover: Takeover) -> Sentence:
    """Return the new main, its epoch, and the reason."""
    reason = takeover.words or takeover.verdict or takeover.why
    text = f"epoch {takeover.epoch}: {takeover.member} becomes the main"
    return Sentence(f"{text}: {reason}" if reason else text, "urgent" if takeover.why == "failure" else "good")


def alert_sentence(alert: Alert) -> Sentence:
    """Return severity, message and advice."""
    advice = f" → {alert.advice}" if alert.advice else ""
    tone: Tone = "bad" if alert.severity == "notice" else "urgent"
    return Sentence(f"{alert.severity or 'alert'}: {alert.message}{advice}", tone)


def _document(event: Event, kind: type[D]) -> D:
    return decode(event.data.encode(), kind, "the overseer")


def _summary(cluster: Cluster) -> Sentence:
    members = _started(cluster).values()
    alive = sum(member.alive is not False for member in members)
    main = cluster.main.member if cluster.main else "none"
    text = f"epoch {cluster.epoch}: main {main}, {alive} of {len(members)} members alive"
    return Sentence(text, "plain" if cluster.main else "urgent")


def _started(cluster: Cluster) -> dict[str, Member]:
    """Return the members by name, without those that are registered and never started."""
    return {member.member: member for member in cluster.members if member.incarnation}


def _main_changes(previous: Cluster, present: Cluster) -> list[Sentence]:
    before, now = previous.main, present.main
    if now is None:
        return [Sentence("the cluster has no main", "urgent")] if before is not None else []
    same = before is not None and before.incarnation == now.incarnation and previous.epoch == present.epoch
    if before is not None and same and before.state == now.state:
        return []
    if now.state == "serving":
        return [Sentence(f"epoch {present.epoch}: {now.member} serves", "good")]
    return [Sentence(f"epoch {present.epoch}: {now.member} does not serve yet ({now.state or 'claimed'})")]


def _member_changes(previous: Cluster, present: Cluster) -> list[Sentence]:
    before = _started(previous)
    sentences: list[Sentence] = []
    for name, member in _started(present).items():
        last = before.pop(name, None)
        if last is None:
            sentences.append(Sentence(f"{member.member} joined the pool", "good"))
            continue
        if last.incarnation != member.incarnation:
            sentences.append(Sentence(f"{member.member} was restarted", "good"))
        elif last.role != member.role == "left":
            sentences.append(Sentence(f"{member.member} was stopped in order"))
        elif last.alive is not False and member.alive is False:
            sentences.append(Sentence(f"{member.member} is no longer alive", "bad"))
        elif last.alive is False and member.alive:
            sentences.append(Sentence(f"{member.member} is back", "good"))
        if member.verdict not in {last.verdict, None, "Unknown"}:
            tone: Tone = "good" if member.verdict == "Healthy" else "bad"
            sentences.append(Sentence(f"{member.member} says: {member.verdict}", tone))
    sentences.extend(Sentence(f"{name} left the pool") for name in before)
    return sentences


def _link_changes(previous: Cluster, present: Cluster) -> list[Sentence]:
    before = {(link.source, link.target): link.state for link in previous.links}
    return [
        Sentence(f"link {link.source} → {link.target}: {link.state}", "good" if link.state == "up" else "bad")
        for link in present.links
        if (link.state == "failed") != (before.get((link.source, link.target)) == "failed")
    ]


def as_json_line(event: Event) -> str:
    """Return an event as JSON: `{"event": …, "id": …, "data": …}`."""
    try:
        data: object = msgspec.json.decode(event.data)
    except (msgspec.DecodeError, RecursionError):
        data = event.data
    return msgspec.json.encode({"event": event.name, "id": event.id, "data": data}).decode()
