"""The worker's store as this face needs it (`RevisionStore`).

What this face calls the compacted revision is one above the store's: etcd's watchers may still have the changes of the
compacted revision itself, and the store keeps those above its own.
"""

import asyncio
import logging
import zlib
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec

from hanas_core.state import changes as core_changes
from hanas_core.state.entries import unpack
from hanas_core.state.index import Index
from hanas_core.state.judge import Outcome, Result
from hanas_core.state.transactions import Transact
from hanas_serving.budget import NoMemory
from hanas_worker import refusals
from hanas_worker import store as stores
from hanas_worker.faces.etcd import terms
from hanas_worker.faces.etcd.reading import Again, Reading, entry_of
from hanas_worker.faces.etcd.revisions import (
    Busy,
    Change,
    Compacted,
    Decided,
    Deleted,
    Digest,
    Done,
    Full,
    Future,
    Late,
    Lease,
    LeaseExists,
    Lost,
    Moved,
    NoKey,
    NoLease,
    Pair,
    Query,
    Refusal,
    Rows,
    Span,
    Stored,
    Transaction,
    Unknown,
    Unsupported,
    Vitals,
)
from hanas_worker.store import Store

_log = logging.getLogger("hanas.worker")

R = TypeVar("R")

_REFUSALS: dict[type[refusals.Refusal], type[Refusal]] = {
    refusals.Elsewhere: Moved,
    refusals.NotFound: NoKey,
    refusals.Forgotten: Compacted,
    refusals.Future: Future,
    refusals.NoLease: NoLease,
    refusals.LeaseExists: LeaseExists,
    refusals.LeaseCrowded: Busy,
    refusals.TooManyLeases: Busy,
    refusals.Busy: Busy,
    refusals.Crowded: Busy,
    refusals.Full: Full,
    refusals.Unknown: Unknown,
    refusals.Unreadable: Late,
    refusals.NoRevisions: Late,
}
_TOO_MANY_DELETES = (
    "the keys that this would delete take more than 1 MiB; nothing was done: delete the range in pages, each up to the "
    "last of the next 1,000 keys or so"
)
_TOO_MANY_KEYS = "a transaction may look at 32,768 keys at most; nothing was done: read ranges outside of it"
_TOO_LARGE = "the main takes no value of this size; nothing was done: give all workers the same HANAS_VALUE_BYTES"
_STEP_KEYS = 1024
"""So many keys are hashed in one turn of the event loop."""
_TRIES = 8
"""So often a read begins anew because what it reads was forgotten meanwhile, or the copy was lent or made anew."""


def refusal_of(refusal: refusals.Refusal) -> Refusal:
    """Return a refusal of the store as one of this face."""
    if isinstance(refusal, refusals.TooManyDeletes):
        return Unsupported(_TOO_MANY_DELETES)
    if isinstance(refusal, refusals.TooManyKeys):
        return Unsupported(_TOO_MANY_KEYS)
    if isinstance(refusal, refusals.TooLarge):
        return Unsupported(_TOO_LARGE)
    return _REFUSALS.get(type(refusal), Unknown)()


def _mistake(error: Exception) -> Unknown:
    """Tell people of an error of this program, of which nobody knows what it left undone."""
    _log.error("an error of this program", exc_info=error)
    return Unknown()


def told_of(compacted: int) -> int:
    """Return what this face tells of the store's ``compacted`` revision: the lowest that is readable; 0: all are."""
    return compacted + 1 if compacted > 1 else 0


class _Seen(msgspec.Struct, frozen=True):
    """The index in a turn of the event loop in which it could be read."""

    index: Index
    revision: int
    compacted: int


class StoreAdapter:
    """The store of one log. It belongs to the event loop."""

    def __init__(self, store: Store, size: Callable[[], int]) -> None:
        """Be ``store``; ``size`` returns what its log takes on the volume, bytes."""
        self._store, self._size = store, size
        self._tasks: set[asyncio.Task[None]] = set()
        self._told = 1
        """The highest revision that clients were told."""

    @property
    def revision(self) -> int:
        """See `RevisionStore`. It never falls, though the copy of a backup may be made anew, or lag behind the main."""
        return self._tell(max(self._told, self._store.reached))

    def _tell(self, revision: int) -> int:
        """Return a revision that is about to be told; it is known to be committed."""
        self._told = max(self._told, revision)
        return revision

    @property
    def term(self) -> int:
        """See `RevisionStore`."""
        return self._store.epoch

    # ------------------------------------------------------------------ how results are given

    def _carry_out(self, work: Coroutine[Any, Any, R], done: Done[R]) -> None:
        task = asyncio.get_running_loop().create_task(self._give(work, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _give(work: Coroutine[Any, Any, R], done: Done[R]) -> None:
        result: R | Refusal
        try:
            result = await work
        except refusals.Refusal as refusal:
            result = refusal_of(refusal)
        except Refusal as refusal:
            result = refusal
        except NoMemory:
            result = Late()
        except Exception as error:
            result = _mistake(error)
        done(result)

    def _check_revision(self, revision: int, present: int, compacted: int) -> None:
        """Raise Refusal for a revision as of which nothing can be read."""
        if not (self._store.index.shown or self._store.numbered):  # a member of an older version lives
            raise Late
        if revision > present:
            raise Future
        if 0 < revision < told_of(compacted):
            raise Compacted

    # ------------------------------------------------------------------ reading

    def read(self, query: Query, done: Done[Rows]) -> None:
        """See `RevisionStore`."""
        self._look(partial(self._read, query, done), stale=query.stale)

    def _look(self, done: Done[int], *, stale: bool = False) -> None:
        """Call ``done`` with the present revision in a turn of the event loop in which the index may be read.

        ``stale``: what was applied here is enough, if clients were told no more.
        """
        store = self._store
        if stale and store.settled and store.index.revision >= self._told:
            done(self._tell(store.index.revision))
        else:
            self.confirm(done)

    async def _seen(self, revision: int, *, stale: bool = False) -> _Seen:
        """Return what `_look` finds, if it can be read as of ``revision``, 0: as it is. Raises Refusal."""

        def look(done: Callable[[_Seen | Exception], None]) -> None:
            def seen(present: int | Refusal) -> None:
                index = self._store.index
                done(present if isinstance(present, Refusal) else _Seen(index, present, index.compacted))

            self._look(seen, stale=stale)

        seen = await refusals.awaited(look)
        self._check_revision(revision, seen.revision, seen.compacted)
        return seen

    def _read(self, query: Query, done: Done[Rows], present: int | Refusal) -> None:
        if isinstance(present, Refusal):
            done(present)
            return
        index = self._store.index
        try:
            self._check_revision(query.revision, present, index.compacted)
        except Refusal as refusal:
            done(refusal)
            return
        if query.span.end is None and not query.count_only:
            rows = self._one(index, query)
            if rows is not None:
                done(rows)
                return
        self._carry_out(self._read_in_turns(query, index, present), done)

    async def _read_in_turns(self, query: Query, index: Index, present: int) -> Rows:
        """Return what there is, as of one revision. Raises Refusal, NoMemory."""
        for _ in range(_TRIES):
            try:
                return await Reading(self._store, query, index, present).carry_out()
            except Again:
                seen = await self._seen(query.revision, stale=query.stale)
                index, present = seen.index, seen.revision
        raise Busy

    @staticmethod
    def _one(index: Index, query: Query) -> Rows | None:
        """Return the answer about one key; None: its value is not at hand."""
        key = query.span.begin
        entry = entry_of(index, key, query.revision)
        if entry is None:
            return Rows(index.revision, [], 0)
        value = index.cached_of(key, entry)
        return None if value is None else Rows(index.revision, [terms.pair_of(key, entry, value)], 1)

    def confirm(self, done: Done[int]) -> None:
        """See `RevisionStore`."""

        def told(present: int | refusals.Refusal) -> None:
            try:
                done(self._tell(present) if isinstance(present, int) else refusal_of(present))
            except Exception as error:  # others wait for the same answer
                _mistake(error)

        self._store.confirm(told)

    # ------------------------------------------------------------------ transactions and compaction

    def transact(self, transaction: Transaction, done: Done[Decided]) -> None:
        """See `RevisionStore`."""
        if self._store.numbered and (write := terms.write_of(transaction)) is not None:
            self._store.write(write, _PlainWrite(self._store, done, self._tell))
            return
        try:
            request = Transact(terms.transaction_of(transaction))
        except Refusal as refusal:
            done(refusal)
            return
        if self._store.serves:
            self._store.transact_here(request, partial(self._carried_out, transaction, request, done))
        else:
            self._carry_out(self._transact(transaction, request), done)

    async def _transact(self, asked: Transaction, request: Transact) -> Decided:
        return self._decided(asked, await self._store.transact(request))

    def _carried_out(
        self, asked: Transaction, request: Transact, done: Done[Decided], ended: stores.Transacted | refusals.Refusal
    ) -> None:
        if isinstance(ended, refusals.Elsewhere):  # this worker's epoch has ended before anything was done
            self._carry_out(self._transact(asked, request), done)
        elif isinstance(ended, refusals.Refusal):
            done(refusal_of(ended))
        else:
            done(self._decided_or_not(asked, ended))

    def _decided_or_not(self, asked: Transaction, ended: stores.Transacted) -> Decided | Refusal:
        try:
            return self._decided(asked, ended)
        except Refusal as refusal:
            return refusal
        except Exception as error:
            return _mistake(error)

    def _decided(self, asked: Transaction, ended: stores.Transacted) -> Decided:
        """Return the result of a transaction that was carried out. Raises Refusal."""
        self._tell(ended.outcome.revision)
        try:
            return terms.decided(asked, ended)
        except terms.Untold:
            raise (Busy if ended.outcome.version is None else Unknown) from None

    def compact(self, revision: int, done: Done[int]) -> None:
        """See `RevisionStore`. What little there is to forget below revision 3 is not forgotten, and not noted."""
        self._carry_out(self._compact(revision), done)

    async def _compact(self, revision: int) -> int:
        seen = await self._seen(0)
        if revision > seen.revision:
            raise Future
        if revision <= told_of(seen.compacted):
            raise Compacted
        if revision - 1 <= seen.compacted:
            return seen.revision
        return self._tell(await self._store.compact(revision - 1))

    # ------------------------------------------------------------------ watching

    def watch(self, span: Span, start: int, ready: Callable[[], None], *, previous: bool) -> "AdaptedFeed":
        """See `RevisionStore`."""
        feed = self._store.feeds.watch(terms.span_of(span), max(start, 2) - 1, ready, previous=previous)
        return AdaptedFeed(feed, start, self._tell)

    # ------------------------------------------------------------------ leases

    def grant(self, lease: int, seconds: int, done: Done[Lease]) -> None:
        """See `RevisionStore`."""
        self._carry_out(self._grant(lease, seconds), done)

    async def _grant(self, lease: int, seconds: int) -> Lease:
        if lease < 0:
            raise Unsupported("the id of a lease must be positive, or 0 for one that is chosen here")
        granted = await self._store.grant(lease, seconds)
        self._tell(granted.revision)
        return Lease(granted.lease, seconds, seconds)

    def revoke(self, lease: int, done: Done[int]) -> None:
        """See `RevisionStore`."""
        self._carry_out(self._revoke(lease), done)

    async def _revoke(self, lease: int) -> int:
        return self._tell((await self._store.revoke(lease)).revision)

    def renew(self, lease: int, done: Done[Lease]) -> None:
        """See `RevisionStore`."""
        self._carry_out(self._renew(lease), done)

    async def _renew(self, lease: int) -> Lease:
        renewed = await self._store.keep_alive(lease)
        self._tell(renewed.revision)
        return Lease(lease, renewed.ttl, renewed.ttl)

    def lease(self, lease: int, done: Done[Lease]) -> None:
        """See `RevisionStore`."""
        self._carry_out(self._lease(lease), done)

    async def _lease(self, lease: int) -> Lease:
        told = await self._store.lease(lease)
        self._tell(told.revision)
        return Lease(lease, told.ttl, int(told.left), told.keys)

    def leases(self, done: Done[list[int]]) -> None:
        """See `RevisionStore`."""
        self._carry_out(self._store.leases(), done)

    # ------------------------------------------------------------------ how it is

    def digest(self, revision: int, done: Done[Digest]) -> None:
        """See `RevisionStore`."""
        self._carry_out(self._digest(revision), done)

    async def _digest(self, revision: int) -> Digest:
        for _ in range(_TRIES):
            seen = await self._seen(revision)
            at = revision or seen.revision
            value = await self._hash(seen.index, at)
            if value is not None:
                return Digest(value, at, told_of(seen.compacted), seen.revision)
        raise Busy

    async def _hash(self, index: Index, revision: int) -> int | None:
        """Return a hash of all keys as of ``revision``; None if the index can be read no more, or that is forgotten."""
        value, first, more = 0, b"", True
        while more:
            more = False
            if not self._store.still(index) or revision < index.compacted:
                return None
            for number, (key, packed) in enumerate(index.keys.span(first, None, revision)):
                if number == _STEP_KEYS:
                    first, more = key, True
                    break
                entry = unpack(packed)
                fields = key, entry.facts, entry.size, entry.checksum
                value = zlib.crc32(msgspec.msgpack.encode(fields), value)
            await asyncio.sleep(0)
        return value

    def vitals(self) -> Vitals:
        """See `RevisionStore`."""
        store, standing = self._store, self._store.standing
        return Vitals(self._size(), standing.value_bytes, 0, standing.sequence, store.full, store.has_main)


class _PlainWrite(stores.PendingWrite, eq=False):
    """A transaction that is but one write of one key, and asks for nothing that was before."""

    given: Done[Decided]
    tell: Callable[[int], int]

    def done(self, outcome: Outcome, epoch: int) -> None:
        """Tell what was done, unless the main of now does not know at which revision."""
        del epoch
        if not self.tell(outcome.revision):
            self.given(Unknown())
            return
        result: Stored | Deleted = Stored(outcome.revision)
        if outcome.result is Result.DELETED:
            result = Deleted(outcome.revision, 1)
        self.given(Decided(outcome.revision, held=True, results=[result]))

    def fail(self, error: Exception) -> None:
        """Tell why nothing was done, or what is not known."""
        if isinstance(error, refusals.NotFound):
            revision = self.tell(error.revision)
            self.given(Decided(revision, held=True, results=[Deleted(revision, 0)]))
        elif isinstance(error, refusals.Refusal):
            self.given(refusal_of(error))
        else:
            self.given(_mistake(error))


_FORM = object()
"""This face's changes among the `forms` of the store's."""


class AdaptedFeed:
    """A feed of the store, in this face's words."""

    def __init__(self, feed: stores.Feed, start: int, tell: Callable[[int], int]) -> None:
        """Begin with ``feed``, for who asked for ``start``; ``tell`` takes note of the revisions that are told."""
        self._feed, self._least, self._tell = feed, start - 1, tell

    @property
    def position(self) -> int:
        """See `Feed`."""
        return max(self._least, self._feed.position)

    def take(self, most: int) -> Sequence[Change] | Lost:
        """See `Feed`."""
        taken = self._feed.take(most)
        if isinstance(taken, core_changes.Lost):
            return Lost(taken.compacted + 1)
        if not taken.changes:
            return []
        self._tell(taken.revision)
        changes: list[Change] | None = taken.forms.get(_FORM)
        if changes is None:
            changes = taken.forms[_FORM] = [_change_of(change) for change in taken.changes]
        return changes

    def close(self) -> None:
        """See `Feed`."""
        self._feed.close()


def _change_of(change: stores.Change) -> Change:
    key, entry = change.key, change.entry
    pair = Pair(key, b"", 0, change.revision, 0) if entry is None else terms.pair_of(key, entry, change.value)
    previous = None if change.before is None else terms.pair_of(key, change.before, change.previous)
    return Change(pair, entry is None, previous)
