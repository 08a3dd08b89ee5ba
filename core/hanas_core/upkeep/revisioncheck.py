"""Checks that revisions, history and leases go on along the log (hanas_core.upkeep.logcheck).

What is said of a key is compared with what was said before. Compaction may have left out anything in between, so only
behind the last merged batch it is known exactly.
"""

from collections.abc import Iterator
from typing import NamedTuple

from hanas_core.log import records
from hanas_core.log.positions import Facts, Version
from hanas_core.state.keytexts import shown
from hanas_core.state.leases import MOST_ID, MOST_TTL, Leases


class Contradiction(NamedTuple):
    """What cannot be, and the keys that it is about."""

    what: str
    keys: tuple[bytes, ...] = ()


class RevisionCheck:
    """Goes along the records of the log in their order."""

    def __init__(self) -> None:
        """Have seen nothing."""
        self._leases = Leases()
        self._facts: dict[bytes, Facts] = {}
        """Of what each key held last, where the log has revisions."""
        self._exact: dict[bytes, Facts | None] = {}
        """The same of all writes since nothing was left out; None: the key was deleted."""
        self._revision = self._floor = self._highest = 0
        """Of what was merged; the highest one is that of its records so far."""
        self._forgotten = 0
        """Up to which revision the log has forgotten history so far."""
        self._compacted = 0
        """The same, or what a merged part told: it knows, ahead of the log, all that was forgotten when it was made."""

    def gap(self) -> None:
        """Some records are not there, or were left out by a compaction."""
        self._exact.clear()

    def record(self, record: records.Record | records.Merged, version: Version, before: int) -> Iterator[Contradiction]:
        """Check a record as a whole, ahead of its parts. ``before``: the revision before it."""
        match record:
            case records.Granted(lease=lease, ttl=ttl) | records.Lease(lease=lease, ttl=ttl):
                if self._leases.get(lease) is not None:
                    yield Contradiction(f"the lease {lease} is granted a second time")
                if not (1 <= lease <= MOST_ID and 1 <= ttl <= MOST_TTL):
                    yield Contradiction(f"the lease {lease} with {ttl} s to live: there can be no such")
                self._leases.grant(lease, ttl, version)
            case records.Checkpointed(left=left):
                for lease, remaining in left:
                    yield from self._remains(lease, remaining)
            case records.Left(lease=lease, remaining=remaining):
                yield from self._remains(lease, remaining)
            case records.Revoked(lease=lease, keys=keys):
                yield from self._revoked(lease, keys)
            case records.Ended(lease=lease):
                self._leases.revoke(lease)
            case records.Compacted(revision=revision):
                yield from self._forgets(revision, before, version)
            case records.Transacted(changes=changes):
                keys = tuple(change.key for change in changes)
                if len(set(keys)) < len(keys):
                    yield Contradiction("a transaction changes a key twice", keys)
            case records.Floor(revision=revision):
                self._floor, self._highest = revision, 0
            case records.ReachedRevision():
                yield from self._reached(record)
            case _:
                pass

    def _remains(self, lease: int, remaining: int) -> Iterator[Contradiction]:
        held = self._leases.get(lease)
        if held is not None and not 1 <= remaining <= held.ttl:
            yield Contradiction(f"{remaining} s remain of the lease {lease}, which lives for {held.ttl} s")

    def _revoked(self, lease: int, keys: tuple[bytes, ...]) -> Iterator[Contradiction]:
        others = tuple(key for key in keys if key in self._exact and not self._ends_with(key, lease))
        if others:
            yield Contradiction(f"the lease {lease} ends with keys that are not attached to it", others)
        self._leases.revoke(lease)

    def _ends_with(self, key: bytes, lease: int) -> bool:
        facts = self._exact[key]
        return facts is not None and facts.lease == lease

    def _forgets(self, revision: int, before: int, version: Version) -> Iterator[Contradiction]:
        if revision <= self._forgotten:
            yield Contradiction(f"history is forgotten up to revision {revision}, and was up to {self._forgotten}")
        if revision > before and version.sequence > 1:  # a store that was restored begins so
            yield Contradiction(f"history is forgotten up to revision {revision}, which is behind the last, {before}")
        self._forgotten = max(self._forgotten, revision)
        self._compacted = max(self._compacted, revision)

    def _reached(self, record: records.ReachedRevision) -> Iterator[Contradiction]:
        if record.compacted < self._floor:
            what = (
                f"what was merged forgets history up to revision {record.compacted}, but lacks it up to {self._floor}"
            )
            yield Contradiction(what)
        if record.revision < (least := max(self._highest, self._revision)):
            yield Contradiction(f"what was merged ends with revision {record.revision}, but holds {least}")
        self._revision, self._compacted = record.revision, max(self._compacted, record.compacted)

    def part(self, part: records.Record | records.Merged, revision: int) -> Iterator[Contradiction]:
        """Check that the writes of a key count on. ``revision``: that of the change."""
        match part:
            case records.Put(key=key):
                facts = records.facts_of_put(part, revision)
                yield from list(self._counts_on(key, facts)) or self._follows(key, facts)
                self._facts[key] = self._exact[key] = facts
            case records.Kept(key=key):
                facts = records.facts_of(part)
                yield from self._counts_on(key, facts)
                self._facts[key] = facts
                self._highest = max(self._highest, facts.revision)
            case records.Delete(key=key):
                if key in self._exact and self._exact[key] is None:
                    yield Contradiction(f"{shown(key)!r} is deleted, and was deleted before", (key,))
                self._facts.pop(key, None)
                self._exact[key] = None
            case records.Gone(key=key):
                self._facts.pop(key, None)
                self._highest = max(self._highest, records.revision_of(part))
            case _:
                pass

    def _counts_on(self, key: bytes, facts: Facts) -> Iterator[Contradiction]:
        before = self._facts.get(key)
        same = before is not None and before.create == facts.create
        if facts.create > facts.revision or (before is not None and same and before.generation >= facts.generation):
            what = (
                f"{shown(key)!r} has the generation {facts.generation} since revision {facts.create}, as it had before"
            )
            yield Contradiction(what, (key,))

    def _follows(self, key: bytes, facts: Facts) -> Iterator[Contradiction]:
        if key not in self._exact:
            return
        before = self._exact[key]
        create, generation = (facts.revision, 1) if before is None else (before.create, before.generation + 1)
        if (facts.create, facts.generation) != (create, generation):
            what = f"{shown(key)!r} has the generation {facts.generation} since revision {facts.create}: "
            yield Contradiction(f"{what}generation {generation} since revision {create} follows", (key,))

    def ended(self, revision: int | None) -> Iterator[Contradiction]:
        """Check at the end, at ``revision``, None if it is not known, that no more is forgotten than there was.

        ... and that every key that is attached to a lease will go with it.
        """
        if revision is not None and self._compacted > revision:
            what = f"what was merged forgets history up to revision {self._compacted}, and the last one is {revision}"
            yield Contradiction(what)
        for key, facts in self._facts.items():
            if facts.lease and self._leases.get(facts.lease) is None:
                yield Contradiction(f"{shown(key)!r} is attached to lease {facts.lease}, which is gone", (key,))
