"""The judgement on watches: nothing is lost, doubled or out of order, and all watchers are told the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from hanas_lab.history import Action, Operation, OperationOutcome
from hanas_lab.linearizable import version_of

_MOST = 5
"""So many violations of a kind are listed."""


class Change(NamedTuple):
    """What a revision made of a key."""

    value: str | None
    """None: it was deleted, or its value is no text."""
    version: str
    """Empty: it was deleted."""


Gap = tuple[int, int]
"""Behind the first revision, up to the second one, changes were forgotten before they were told."""
Events = Mapping[int, Mapping[str, Change]]
"""The changes of each revision that changed anything."""


class Watched:
    """What one watcher was told, judged as it comes."""

    def __init__(self, name: str, prefix: str, after: int) -> None:
        """Watch the keys with ``prefix`` behind the revision ``after``."""
        self.name, self.prefix, self.began = name, prefix, after
        self.cursor = after
        """Up to here everything was told."""
        self.events: dict[int, dict[str, Change]] = {}
        self.streams = 0
        self.gaps: list[Gap] = []
        self.violations: list[str] = []

    def take(self, document: dict[str, Any]) -> None:
        """Take one document of the stream (docs/api.md)."""
        if "progress" in document:
            if document["progress"] < self.cursor:
                self._accuse(f"was told progress {document['progress']} behind {self.cursor}")
            self.cursor = max(self.cursor, document["progress"])
        elif "compacted" in document:
            self.forgotten(document["compacted"])
        else:
            self._told(document["revision"], document["changes"])

    def forgotten(self, compacted: int) -> None:
        """Changes up to a revision are forgotten: nothing is known of those behind the cursor."""
        if compacted <= self.cursor:
            self._accuse(f"was told behind {self.cursor} that history is forgotten up to {compacted}")
            return
        self.gaps.append((self.cursor, compacted))
        self.cursor = compacted

    def _told(self, revision: int, changes: Iterable[dict[str, Any]]) -> None:
        if revision <= self.cursor:
            self._accuse(f"was told revision {revision} behind {self.cursor}")
            return
        keys: dict[str, Change] = {}
        for change in changes:
            put = change.get("put")
            key = change["delete"]["key"] if put is None else put["key"]
            if key in keys or not key.startswith(self.prefix):
                self._accuse(f"was told of {key} in revision {revision}, twice or without need")
            keys[key] = Change(None, "") if put is None else Change(put.get("text"), put["etag"])
        self.events[revision] = keys
        self.cursor = revision

    def _accuse(self, what: str) -> None:
        self.violations.append(f"{self.name} {what}")


def events_of(watchers: Sequence[Watched]) -> dict[int, dict[str, Change]]:
    """Return all that any of them was told, by revision, in order."""
    union: dict[int, dict[str, Change]] = {}
    for watcher in watchers:
        for revision, changes in watcher.events.items():
            union.setdefault(revision, {}).update(changes)
    return dict(sorted(union.items()))


def gaps_of(watchers: Sequence[Watched], prefix: str) -> list[Gap]:
    """Return where nobody was told what became of the keys with ``prefix``."""
    common: list[Gap] = [(0, 1 << 63)]
    for watcher in watchers:
        if prefix.startswith(watcher.prefix):
            pairs = [(max(a, c), min(b, d)) for a, b in common for c, d in watcher.gaps]
            common = [(begin, end) for begin, end in pairs if begin < end]
    return common


def judge_watches(watchers: Sequence[Watched], history: Iterable[Operation]) -> list[str]:
    """Return the violations; the watchers began before the first operation of ``history``, and were told the last one.

    One of them watches all keys. The values of all puts are different.
    """
    events = events_of(watchers)
    violations = [violation for watcher in watchers for violation in watcher.violations[:_MOST]]
    for watcher in watchers:
        violations += _differences(watcher, events)[:_MOST]
    return violations + _unlike(events, history, gaps_of(watchers, ""))


def _differences(watcher: Watched, events: Events) -> list[str]:
    differences = []
    for revision, changes in events.items():
        known = watcher.began < revision <= watcher.cursor
        if known and not any(begin < revision <= end for begin, end in watcher.gaps):
            expected = {key: change for key, change in changes.items() if key.startswith(watcher.prefix)}
            told = watcher.events.get(revision, {})
            if told != expected:
                differences.append(f"{watcher.name} was told {told} of revision {revision}, another one {expected}")
    return differences


def _unlike(events: Events, history: Iterable[Operation], gaps: Sequence[Gap]) -> list[str]:
    """Compare the events with what clients asked for, and were answered."""
    values: dict[tuple[str, str], str | None] = {}
    written: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    versions: list[tuple[int, tuple[int, int]]] = []
    for revision, keys in events.items():
        for key, change in keys.items():
            if change.version:
                values[key, change.version] = change.value
                versions.append((revision, version_of(change.version)))
            if change.value is not None:
                written[key, change.value].append(revision)
    unknown = [
        (
            max((version for revision, version in versions if revision <= begin), default=(0, 0)),
            min((version for revision, version in versions if revision > end), default=(1 << 63, 0)),
        )
        for begin, end in gaps
    ]
    lost, doubled = [], []
    for operation in history:
        if operation.kind is not Action.PUT or operation.value is None:
            continue
        acknowledged = operation.version if operation.outcome is OperationOutcome.OK else None
        told = acknowledged is None or values.get((operation.key, acknowledged)) == operation.value
        if not told and not any(first < version_of(acknowledged or "") < last for first, last in unknown):
            lost.append(f"no watcher was told: {operation}")
        if len(revisions := written[operation.key, operation.value]) > 1:
            doubled.append(f"one write has the revisions {revisions}: {operation}")
    return lost[:_MOST] + doubled[:_MOST]
