"""What the store was at each revision, by the records that were committed; and whether what clients were told fits."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, NamedTuple

from hanas_core.log import records
from hanas_core.log.batches import Batch
from hanas_core.log.cells import cell_size, sums_size
from hanas_core.log.positions import Version
from hanas_core.state.index import Index
from hanas_worker.faces.http.transactions import transaction_of
from tests.revisions import KeyValue, Model, Told

Accuse = Callable[[str], None]


class Answered(NamedTuple):
    """What a client was told about revisions."""

    start: float
    end: float
    revision: int
    """In the header ``HANas-Revision``."""
    question: bytes | str
    """The body of a transaction, or the key or the prefix that was read."""
    at: int
    """As of which revision; 0: it was a transaction."""
    answer: Any
    """The document of a transaction; the value of a key, None if it was not there; or the keys of a list."""


def values_of(batch: Batch) -> dict[tuple[Version, bytes], bytes]:
    """Return the values that a batch writes, by version and key."""
    found = {}
    changes, at = records.decode(batch)
    for sequence, record in enumerate(changes, batch.first_sequence):
        for part in record.changes if isinstance(record, records.Transacted) else (record,):
            if isinstance(part, records.Put):
                begin, at = at + sums_size(part.size), at + cell_size(part.size)
                found[Version(batch.origin, sequence), part.key] = batch.payload[begin:at]
    return found


class Past:
    """Every state of the store. Facts are counted here anew, and not taken from the records."""

    def __init__(self, accuse: Accuse) -> None:
        """Begin with an empty store."""
        self._accuse = accuse
        self._values: dict[tuple[Version, bytes], bytes] = {}
        self.model = Model()
        self.compacted = 1

    def learn(self, batch: Batch) -> None:
        """Take the values of a batch that is, or may be, committed."""
        self._values.update(values_of(batch))

    def add(self, version: Version, record: records.Record) -> None:
        """Take a committed record."""
        match record:
            case records.Compacted(revision=revision):
                self.compacted = max(self.compacted, revision)
                if revision > self.model.revision:  # only a restore goes on behind another store
                    self._accuse(f"history was compacted up to {revision}, which is still to come")
            case records.Opened():
                pass
            case records.Transacted(changes=changes):
                self._change(version, changes)
            case records.Granted(lease=lease, ttl=ttl):
                if not self.model.grant(lease, ttl):
                    self._accuse(f"{version} grants lease {lease} a second time")
            case records.Checkpointed(left=left):
                for lease, remaining in left:
                    if not self.model.checkpoint(lease, remaining):
                        self._accuse(f"{version} tells what remains of lease {lease}, which is not there")
            case records.Revoked():
                self._revoke(version, record)
            case _:
                self._change(version, (record,))

    def _revoke(self, version: Version, revoked: records.Revoked) -> None:
        attached = sorted(key for key, held in self.model.present.items() if held.lease == revoked.lease)
        if revoked.keys != tuple(attached):
            self._accuse(f"{version} ends lease {revoked.lease} with {revoked.keys}, and its keys are {attached}")
        if not self.model.revoke(revoked.lease):
            self._accuse(f"{version} ends lease {revoked.lease}, which is not there")

    def _change(self, version: Version, changes: tuple[records.Put | records.Delete, ...]) -> None:
        revision, state = self.model.revision + 1, dict(self.model.present)
        for change in changes:
            old = state.pop(change.key, None)
            if isinstance(change, records.Put):
                value = self._values[version, change.key]
                create, generation = (revision, 1) if old is None else (old.create, old.version + 1)
                lease = change.lease if isinstance(change, records.RevisedPut) else 0
                if lease and lease not in self.model.leases:
                    self._accuse(f"{version} attaches {change.key!r} to lease {lease}, which is not there")
                state[change.key] = KeyValue(value, create, revision, generation, lease, change.content_type)
                if change.created is not (old is None):
                    self._accuse(f"{version} says that {change.key!r} was created: {change.created}")
            elif old is None:
                self._accuse(f"{version} deletes {change.key!r}, which is not there")
        self.model.advance(state)

    def compare(self, index: Index, what: str) -> None:
        """Compare a copy of the store at all revisions that can be read."""
        if (index.revision, index.compacted) != (self.model.revision, self.compacted):
            self._accuse(
                f"{what} with revision {index.revision} and history from {index.compacted} on, but "
                f"{self.model.revision} and {self.compacted} is what was committed"
            )
            return
        leases = {lease: (held.ttl, held.remaining) for lease, held in index.leases.all()}
        if leases != self.model.leases:
            self._accuse(f"{what} with leases {leases}, but {self.model.leases} is what was committed")
            return
        for revision in range(self.compacted, self.model.revision + 1):
            entries = index.page(b"", b"", 1 << 30, revision).entries
            held = {key: (*entry.facts, entry.size) for key, entry in entries}
            state = self.model.at(revision)
            wanted = {key: (one.mod, one.create, one.version, one.lease, len(one.value)) for key, one in state.items()}
            if held != wanted:
                self._accuse(f"{what} with {held} as of revision {revision}, but {wanted} is what was committed")
                return

    # ------------------------------------------------------------------ what clients were told

    def judge(self, told: list[Answered]) -> None:
        """Check that every answer is true of its revision, and that revisions never fall in time."""
        highest, ends = list[int](), list[float]()
        for each in sorted(told, key=lambda each: each.end):
            ends.append(each.end)
            highest.append(max(each.revision, highest[-1] if highest else 0))
        for each in told:
            before = bisect_left(ends, each.start)
            if before and highest[before - 1] > each.revision:
                self._accuse(f"revision {each.revision} was told after {highest[before - 1]}: {each}")
            if each.revision > self.model.revision:
                self._accuse(f"revision {each.revision} was told, and {self.model.revision} is the last one: {each}")
            elif each.at:
                self._judge_read(each)
            else:
                self._judge_transaction(each)

    def _judge_read(self, each: Answered) -> None:
        state = self.model.at(each.at)
        if isinstance(each.answer, list):
            expected: Any = sorted(key.decode() for key in state if key.startswith(str(each.question).encode()))
        else:
            held = state.get(str(each.question).encode())
            expected = None if held is None else held.value
        if each.answer != expected:
            self._accuse(f"{each.answer} was told of {each.question!r} as of {each.at}, but it was {expected}")

    def _judge_transaction(self, each: Answered) -> None:
        assert isinstance(each.question, bytes)
        transaction, answer = transaction_of(each.question, 1 << 20), each.answer
        made = answer["revision"]
        for before in (made - 1, made):  # one that changed nothing tells the revision that it found
            if before < 1:
                continue
            model = Model.of(before, self.model.at(before))
            expected = model.transact(transaction)
            with_values = b"omitted" not in json.dumps(answer).encode()  # one that was forgotten at once has none
            same = _as_told(expected, with_values=with_values) == _plain(answer, with_values=with_values)
            told = model.revision == made and answer["succeeded"] == expected[0] and (answer["repeated"] or same)
            if told and model.present == self.model.at(made):
                return
        self._accuse(f"no state explains what was told of a transaction: {json.dumps(answer)} to {each.question!r}")


def _plain(answer: dict[str, Any], *, with_values: bool) -> tuple[bool, list[Any]]:
    return answer["succeeded"], [_plain_result(result, with_values=with_values) for result in answer["results"]]


def _plain_result(result: dict[str, Any], *, with_values: bool) -> Any:
    if "keys" in result:
        rows = [(row["key"], row["mod"], row["text"] if with_values else None) for row in result["keys"]]
        return rows, result["more"]
    if "txn" in result:
        return _plain(result["txn"], with_values=with_values)
    return result.get("deleted")


def _as_told(told: Told, *, with_values: bool) -> tuple[bool, list[Any]]:
    plain: list[Any] = []
    for each in told[1]:
        match each:
            case (list() as rows, bool() as more):
                values = [(key.decode(), held.mod, held.value.decode() if with_values else None) for key, held in rows]
                plain.append((values, more))
            case (bool() as succeeded, list() as inner):
                plain.append(_as_told((succeeded, inner), with_values=with_values))
            case _:
                plain.append(each)
    return told[0], plain
