"""The store: the keys of one log, in no protocol's words. All that the protocols of clients see of the engine.

A request is one object, a `PendingRead` or a `PendingWrite` that a protocol derives from. The store calls it back, at
once or when a check or a commit has returned: that costs neither a coroutine nor a future.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import ClassVar, NoReturn, TypeVar

import msgspec

from hanas_core.log import records
from hanas_core.members.roles import Role
from hanas_core.members.verdicts import Verdict
from hanas_core.state.entries import Entry
from hanas_core.state.index import Index
from hanas_core.state.judge import Outcome, Result, Write
from hanas_core.state.keyspace import KeyPage
from hanas_core.state.keytexts import is_text
from hanas_core.state.replica import Standing
from hanas_core.state.transactions import Span, Transact
from hanas_core.volume.errors import FolderError
from hanas_serving.budget import SMALL_BYTES, Budget, Hold, NoMemory
from hanas_worker import calls
from hanas_worker.coordinator import Coordinator
from hanas_worker.log import feeds, transactor
from hanas_worker.log.driver import LogDriver
from hanas_worker.log.forwarder import Forwarder
from hanas_worker.log.historian import form_of
from hanas_worker.log.service import MOST_READERS, Service, fence
from hanas_worker.log.values import Moved
from hanas_worker.refusals import (
    OF_RESULTS,
    Busy,
    Conflict,
    Crowded,
    Elsewhere,
    Forgotten,
    Future,
    NoRevisions,
    NotFound,
    Refusal,
    TooManyKeys,
    Unknown,
    Unreadable,
    awaited,
)

T = TypeVar("T")

_log = logging.getLogger("hanas.worker")

Transacted = transactor.Transacted
Change = feeds.Change
Changes = feeds.Changes
Feed = feeds.Feed
Part = tuple[int, int]
"""Begin and end of a part of a value, bytes."""


_CREATED, _REPLACED, _DELETED = Result.CREATED, Result.REPLACED, Result.DELETED  # slow to look up


_MOST_FORWARDED_BYTES = 4 << 20
"""What the values that a transaction of another worker's client reads may take together: all calls of a forwarder that
are under way must find room in its line. That worker reads by itself what is left out."""
_MOST_FORWARDED_KEYS = 4 << 20
"""... and the keys, of which none can be left out."""


class _Pending(msgspec.Struct, eq=False):
    store: "Store"

    def fail(self, error: Exception) -> None:
        """Answer that the request was refused (`Refusal`), or ran into ``error``, which a method here raised."""
        raise NotImplementedError


class PendingRead(_Pending, eq=False):
    """A read from its request to its answer."""

    key: bytes
    stale: bool
    """What this worker has applied is enough: without a check, and at a backup too."""
    revision: ClassVar[int | None] = None
    """As of which the key is read; None: as it is."""

    def choose(self, entry: Entry, epoch: int) -> Part | None:
        """Return the part of the value to read; None: none, the read is answered. Called again if the value moved."""
        raise NotImplementedError

    def done(self, value: bytes) -> None:
        """Answer with the part of the value that was chosen."""
        raise NotImplementedError

    def __call__(self, epoch: int | None) -> None:
        """Go on in ``epoch``, in which the index may be read; None: in none."""
        try:
            if epoch is None:
                self.store.refuse()
            index = self.store.index
            entry = index.get(self.key) if self.revision is None else past(index, self.key, self.revision, epoch)
            if entry is None:
                raise NotFound(epoch)
            part = self.choose(entry, epoch)
            if part is None:
                return
            value = index.cached(self.key) if self.revision is None else index.cached_of(self.key, entry)
            if value is None or (len(value) > SMALL_BYTES and not self.store.memory.fits(part[1] - part[0])):
                self.store.fetch(self, entry, part)
            else:
                begin, end = part
                self.done(value if end - begin == len(value) else value[begin:end])
        except Exception as error:
            self.fail(error)


class PendingWrite(_Pending, eq=False):
    """A write from its request to its answer."""

    def done(self, outcome: Outcome, epoch: int) -> None:
        """Answer that the key was created, replaced or deleted in ``epoch``."""
        raise NotImplementedError

    def __call__(self, outcome: Outcome, epoch: int) -> None:
        """Go on with the outcome."""
        try:
            result = outcome.result
            if result is _REPLACED or result is _CREATED or result is _DELETED:
                self.done(outcome, epoch)
            elif result is Result.NOT_MAIN:
                self.store.refuse()
            elif result is Result.CONDITION_FAILED:
                raise Conflict(epoch, outcome.version)
            else:
                raise OF_RESULTS[result](epoch)
        except Refusal as refusal:
            refusal.revision = outcome.revision
            self.fail(refusal)
        except Exception as error:
            self.fail(error)


class Store:
    """The keys of one log."""

    def __init__(self, log: LogDriver, memory: Budget) -> None:
        """Be the store of ``log``, at a main or a backup. ``memory``: for large values on their way."""
        self.memory = memory
        self._log = log
        self._state = log.state
        self._lists = asyncio.Lock()
        """A long list takes milliseconds: others have their turn after each."""
        self._fetches: set[asyncio.Task[None]] = set()
        self._coordinator = Coordinator(log, memory, lambda: self.revision)
        log.state.carry_out = self._carry_out_for_other
        self.feeds = feeds.Feeds(log.state, log.values, memory)

    @property
    def epoch(self) -> int:
        """Highest epoch known."""
        return self._state.member.epoch

    @property
    def index(self) -> Index:
        """The committed state that was applied here."""
        return self._state.replica.index

    @property
    def serves(self) -> bool:
        """Whether this worker is the main."""
        return self._state.service is not None

    @property
    def numbered(self) -> bool:
        """Whether writes have revisions, as far as that is known here."""
        state = self._state
        form = form_of(state.host.folder.format, state.replica.index) if state.service is None else state.service.form
        return form != records.PLAIN

    @property
    def full(self) -> bool:
        """Whether the volume has no room, at a backup: as the main has said last."""
        state = self._state
        return state.member.verdict is Verdict.FOLDER_FULL if state.service is None else state.service.full

    @property
    def has_main(self) -> bool:
        """Whether a main is known here, this worker perhaps."""
        return self._log.ready

    @property
    def standing(self) -> Standing:
        """What is to be told of that state; it can be looked at always."""
        return self._state.standing

    @property
    def reached(self) -> int:
        """How often keys were changed, and one more, as far as that is known to be committed."""
        state = self._state
        revision = state.replica.index.revision
        return revision if state.service is not None else min(revision, state.certain)

    @property
    def revision(self) -> int:
        """The revision that answers tell: what was `reached`; 0 in a log whose writes have none."""
        return self.reached if self._state.replica.index.shown else 0

    @property
    def settled(self) -> bool:
        """Whether that state can be read now without a check: all of it is there, and nothing of it may vanish."""
        state, index = self._state, self._state.index
        if state.service is not None:
            return True
        if index is None or state.forwarder is None or not state.forwarder.readable or self._stale_epoch() is None:
            return False
        return index.keys.noted <= index.revision <= state.certain

    def still(self, index: Index) -> bool:
        """Return whether that state, which was ``index``, still is, and can be read in this turn of the loop.

        At a backup it is lent to a thread for a takeover, and may be made anew.
        """
        state = self._state
        if state.index is not index:
            return False
        return state.service is not None or (state.forwarder is not None and state.forwarder.readable)

    def require_main(self) -> None:
        """Raise Elsewhere if this worker can carry out no write."""
        if self._state.service is None and self.redirects:
            self.refuse()

    def refuse(self) -> NoReturn:
        """Raise Elsewhere: only the main may answer."""
        raise self._elsewhere()

    def _elsewhere(self) -> Elsewhere:
        return Elsewhere(self._log.main_url if self.redirects else None)

    @property
    def redirects(self) -> bool:
        """Whether clients are sent elsewhere while this worker is not the main."""
        forwarder = self._state.forwarder
        return forwarder is None or forwarder.declined

    def read(self, read: PendingRead) -> None:
        """Carry out ``read`` when a seal check that began after this call said "unsealed", or at once if stale."""
        service, forwarder = self._state.service, self._state.forwarder
        if read.stale:
            read(self._stale_epoch())
        elif service is not None:
            if service.crowded:
                read.fail(Busy(service.epoch))
            else:
                service.after_check(read if forwarder is None else partial(self._read_on, forwarder, read))
        elif forwarder is None:
            read(None)
        elif forwarder.crowded:
            read.fail(Busy(self.epoch))
        else:
            forwarder.after_check(read)

    @staticmethod
    def _read_on(forwarder: Forwarder, read: PendingRead, epoch: int | None) -> None:
        if epoch is None:  # this worker's epoch has ended
            forwarder.after_check(read)
        else:
            read(epoch)

    def write(self, write: Write, pending: PendingWrite) -> None:
        """Carry out ``write``; ``pending`` gets its outcome."""
        service, forwarder = self._state.service, self._state.forwarder
        if service is not None:
            written = pending if forwarder is None else partial(self._write_on, forwarder, write, pending)
            service.submit(write, written)
        elif forwarder is not None and (write.lease or not is_text(write.key)) and not self.numbered:
            # a main of an older version knows no leases, and no keys but texts
            pending.fail(NoRevisions(self.epoch))
        elif forwarder is not None:
            forwarder.submit(write, pending)
        else:
            pending.fail(Elsewhere(self._log.main_url))

    @staticmethod
    def _write_on(forwarder: Forwarder, write: Write, pending: PendingWrite, outcome: Outcome, epoch: int) -> None:
        if outcome.result is Result.NOT_MAIN:  # this worker's epoch has ended before it was done
            forwarder.submit(write, pending)
        else:
            pending(outcome, epoch)

    def transact_here(self, request: Transact, done: Callable[[Transacted | Refusal], None]) -> None:
        """Call ``done`` when this worker has carried out a transaction as the main; it must not raise.

        With a refusal if it was not: Elsewhere, NoRevisions, TooManyDeletes, KeyReused, Busy, Unknown, ...
        """
        self._coordinator.transact(request, done)

    async def value(self, key: bytes, entry: Entry) -> bytes:
        """Return the value of an entry of ``key``. Raises Refusal: Forgotten, Unreadable."""
        index = self._state.index
        value = None if index is None else index.cached_of(key, entry)
        try:
            return await self._log.values.read(key, entry, (0, entry.size)) if value is None else value
        except Moved:
            raise Forgotten(self.epoch, self.index.compacted) from None
        except FolderError as error:
            raise Unreadable(str(error)) from None

    # ------------------------------------------------------------------ what only the main can carry out

    async def transact(self, request: Transact) -> Transacted:
        """Carry out a transaction. Raises Refusal: NoRevisions, TooManyDeletes, KeyReused, Busy, Unknown, ..."""
        return _as(Transacted, await self._carry_out(calls.Transacting(request)))

    async def compact(self, revision: int) -> int:
        """Forget what keys held before ``revision``; return the present one. Raises Refusal: Forgotten, Future, ..."""
        return _as(calls.Compacted, await self._carry_out(calls.Compacting(revision))).revision

    async def grant(self, lease: int, ttl: int) -> calls.Granted:
        """Begin a lease; 0: with an id that nobody has. Raises Refusal: LeaseExists, TooManyLeases, ..."""
        return _as(calls.Granted, await self._carry_out(calls.Granting(lease, ttl)))

    async def keep_alive(self, lease: int) -> calls.Renewed:
        """Renew a lease. Raises Refusal: NoLease, ..."""
        return _as(calls.Renewed, await self._carry_out(calls.Renewing(lease)))

    async def revoke(self, lease: int) -> calls.Ended:
        """End a lease, and delete its keys. Raises Refusal: NoLease, ..."""
        return _as(calls.Ended, await self._carry_out(calls.Ending(lease)))

    async def lease(self, lease: int) -> calls.Shown:
        """Return what is to be told of a lease. Raises Refusal: NoLease, ..."""
        return _as(calls.Shown, await self._carry_out(calls.Showing(lease)))

    async def leases(self) -> list[int]:
        """Return the ids of all leases, those that end first in front. Raises Refusal."""
        return _as(calls.Listed, await self._carry_out(calls.Listing())).leases

    async def _carry_out(self, call: calls.Call) -> calls.Answer:
        """Have the main carry out a call: this worker, or the one that its forwarder finds. Raises Refusal."""
        forwarder = self._state.forwarder
        if forwarder is None or self.serves:
            try:
                return await self._coordinator.carry_out(call)
            except Elsewhere:
                if forwarder is None:
                    raise  # else this worker's epoch has ended before anything was done
        content = await forwarder.call(calls.encode_call(call), repeatable=call.repeatable)
        if isinstance(content, bytes):
            answer = calls.decode_answer(content)
            return await self._with_values(answer) if isinstance(answer, transactor.Transacted) else answer
        if content is Result.NOT_MAIN:
            self.refuse()
        raise OF_RESULTS[content](self.epoch)

    async def _with_values(self, transacted: Transacted) -> Transacted:
        """Return a transaction with the values that the main has left out, as far as this worker can read them."""
        lacking = {row: read.entry for row, read in transacted.reads.items() if read.value is None}
        size = sum(entry.size for entry in lacking.values())
        if not lacking or size > transactor.MOST_BYTES:
            return transacted
        hold = Hold(self.memory, None)
        try:
            await self.memory.wait(hold, size)
            found = {row: transactor.Read(entry, await self.value(row.key, entry)) for row, entry in lacking.items()}
        except (NoMemory, Refusal):
            return transacted
        finally:
            asyncio.get_running_loop().call_soon(hold.release)
        return transacted._replace(reads=transacted.reads | found)

    async def _carry_out_for_other(self, content: bytes) -> bytes | None:
        """Return the answer to a call that another worker has brought; None: nothing was done. Raises Improper."""
        call = calls.decode_call(content)
        try:
            answer: calls.Answer | Refusal = await self._coordinator.carry_out(call, _MOST_FORWARDED_BYTES)
            if isinstance(answer, transactor.Transacted) and _is_too_long(answer):
                answer = TooManyKeys(answer.epoch) if answer.outcome.version is None else Unknown(answer.epoch)
        except Elsewhere:
            return None
        except Refusal as refusal:
            refusal.revision = refusal.revision or self.revision
            answer = refusal
        except Exception as error:
            _log.error("an error of this program", exc_info=error)
            answer = Unknown(self.epoch)
        return calls.encode_answer(answer)

    @asynccontextmanager
    async def list(
        self, prefixes: tuple[bytes, ...], after: bytes, limit: int, *, stale: bool, revision: int | None = None
    ) -> AsyncIterator[tuple[KeyPage, int]]:
        """Yield up to ``limit`` keys behind ``after``, and the epoch. Raises Elsewhere, Busy, Forgotten, Future.

        ``prefixes``: those of the keys, in order; none begins with another one. ``revision``: see `PendingRead`. No
        other list is made inside the context.
        """
        while True:
            server = self._state.service or (None if stale else self._state.forwarder)
            if stale:
                epoch = self._stale_epoch()
            elif server is None:
                epoch = None
            elif server.crowded:
                raise Busy(self.epoch)
            else:
                epoch = await fence(server)
            if epoch is None and (server is None or server is self._state.forwarder):
                self.refuse()
            async with self._lists:
                await asyncio.sleep(0)
                if epoch is not None and self._still(server, epoch):
                    check_revision(self.index, revision, epoch)
                    yield self._page(prefixes, after, limit, revision), epoch
                    return
            if self._state.forwarder is None:
                self.refuse()

    async def watch(self, span: Span, start: int | None, ready: Callable[[], None], *, previous: bool) -> Feed:
        """Return the changes of ``span`` from revision ``start`` on, None: from now on; see `Feeds.watch`.

        Raises Elsewhere, Busy, NoRevisions, Forgotten, Future.
        """
        if len(self.feeds) >= feeds.MOST_FEEDS:
            raise Busy(self.epoch)
        present = await self.confirmed()
        index, epoch = self.index, self.epoch
        if not index.shown:
            raise NoRevisions(epoch)
        after = present if start is None else max(start, 2) - 1  # revision 1 has no changes
        if after < index.compacted:
            raise Forgotten(epoch, index.compacted)
        if after > present:
            raise Future(epoch, present)
        return self.feeds.watch(span, after, ready, previous=previous)

    async def confirmed(self) -> int:
        """Return what `confirm` calls back with. Raises Elsewhere, Busy."""
        return await awaited(self.confirm)

    def confirm(self, done: Callable[[int | Refusal], None]) -> None:
        """Call ``done`` with the present revision of the copy when it holds all that was acknowledged before this call.

        With a refusal if that will not be known here: Elsewhere, Busy.
        """
        server = self._state.service or self._state.forwarder
        if server is None:
            done(self._elsewhere())
        elif server.crowded:
            done(Busy(self.epoch))
        else:
            server.after_check(partial(self._confirmed, done, server))

    def _confirmed(self, done: Callable[[int | Refusal], None], server: Service | Forwarder, epoch: int | None) -> None:
        forwarder = self._state.forwarder
        if epoch is not None:
            done(self.index.revision)
            self.feeds.notice()
        elif forwarder is None or server is forwarder:
            done(self._elsewhere())
        else:  # this worker's epoch has ended
            forwarder.after_check(partial(self._confirmed, done, forwarder))

    def _still(self, server: Service | Forwarder | None, epoch: int) -> bool:
        """Return whether the copy is still the one that ``server`` has confirmed: it may be made anew since."""
        state = self._state
        if server is None:
            return self._stale_epoch() == epoch
        return state.service is server or (server is state.forwarder and state.forwarder.readable)

    def _page(self, prefixes: tuple[bytes, ...], after: bytes, limit: int, revision: int | None) -> KeyPage:
        entries: list[tuple[bytes, Entry]] = []
        for prefix in prefixes:
            entries += self.index.page(prefix, after, limit + 1 - len(entries), revision).entries
            if len(entries) > limit:
                entries.pop()
                return KeyPage(entries, entries[-1][0])
        return KeyPage(entries, None)

    def _stale_epoch(self) -> int | None:
        """Return the epoch in which this worker may be read without a check, None if it may not."""
        state, service = self._state, self._state.service
        if service is not None:
            return service.epoch
        return state.followed_epoch or None if state.member.role is Role.BACKUP else None

    def fetch(self, read: PendingRead, entry: Entry, part: Part) -> None:
        """Answer ``read`` with a value that is not at hand in memory. Raises Busy."""
        if len(self._fetches) >= MOST_READERS:
            raise Busy(self.epoch)
        task = asyncio.create_task(self._fetch(read, entry, part))
        self._fetches.add(task)
        task.add_done_callback(self._fetches.discard)

    async def _fetch(self, read: PendingRead, entry: Entry, part: Part) -> None:
        begin, end = part
        hold = Hold(self.memory, None)
        try:
            if end - begin > SMALL_BYTES:
                await self.memory.wait(hold, end - begin)
            value = await self._log.values.read(read.key, entry, part)
            self.memory.leave(hold)  # whoever sends the value holds it from now on
            read.done(value)
        except NoMemory:
            read.fail(Crowded())
        except Moved:
            self.read(read)  # only the main knows what became of the key meanwhile
        except FolderError as error:
            read.fail(Unreadable(str(error)))
        except Exception as error:
            read.fail(error)
        finally:
            asyncio.get_running_loop().call_soon(hold.release)


def check_revision(index: Index, revision: int | None, epoch: int) -> None:
    """Raise Forgotten, Future or NoRevisions for a revision as of which nothing can be read."""
    if revision is None:
        return
    if not index.shown:
        raise NoRevisions(epoch)
    if revision < index.compacted:
        raise Forgotten(epoch, index.compacted)
    if revision > index.revision:
        raise Future(epoch, index.revision)


def past(index: Index, key: bytes, revision: int, epoch: int) -> Entry | None:
    """Return what ``key`` held as of ``revision``. Raises as `check_revision` does."""
    check_revision(index, revision, epoch)
    return index.at(key, revision)


def _is_too_long(answer: Transacted) -> bool:
    report = answer.outcome.report
    return report is not None and transactor.size_of_keys(report) > _MOST_FORWARDED_KEYS


def _as(kind: type[T], answer: calls.Answer) -> T:
    if not isinstance(answer, kind):  # of a main that answers something else than it was asked
        raise Unknown
    return answer
