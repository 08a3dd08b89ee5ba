"""The store: the keys of one log, in no protocol's words. All that the protocols of clients see of the engine.

A request is one object, a `PendingRead` or a `PendingWrite` that a protocol derives from. The store calls it back, at
once or when a check or a commit has returned: that costs neither a coroutine nor a future.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import ClassVar, NamedTuple, NoReturn

import msgspec

from hanas_core.log import records
from hanas_core.log.positions import Version
from hanas_core.members.roles import Role
from hanas_core.state.entries import Entry
from hanas_core.state.index import Index
from hanas_core.state.judge import Compaction, Outcome, Result, Write
from hanas_core.state.keyspace import KeyPage
from hanas_core.state.keytexts import is_text
from hanas_core.state.leases import MOST_ID
from hanas_core.state.transactions import Span, Transact
from hanas_core.volume.errors import FolderError
from hanas_serving.budget import SMALL_BYTES, Budget, Hold, NoMemory
from hanas_worker.log import feeds, transactor
from hanas_worker.log.driver import LogDriver
from hanas_worker.log.forwarder import Forwarder
from hanas_worker.log.lessor import Lessor, Told
from hanas_worker.log.service import MOST_READERS, Service, fence
from hanas_worker.log.values import Moved

Transacted = transactor.Transacted
Change = feeds.Change
Changes = feeds.Changes
Feed = feeds.Feed
Part = tuple[int, int]
"""Begin and end of a part of a value, bytes."""


class Refusal(Exception):
    """Why a request was not carried out."""

    def __init__(self, epoch: int | None = None) -> None:
        """``epoch``: the one in which it was refused; None if that has nothing to do with an epoch of this worker."""
        super().__init__()
        self.epoch = epoch
        self.revision = 0
        """Of the store when it was refused; 0: that of the copy here."""


class Elsewhere(Refusal):
    """This worker is not the main; nothing was done. ``main``: the URL of the main, None while there is none."""

    def __init__(self, main: str | None) -> None:
        super().__init__()
        self.main = main


class NotFound(Refusal):
    """The key is not there."""


class Conflict(Refusal):
    """The conditions of a write do not hold for the ``version`` of the key, None if that is not there."""

    def __init__(self, epoch: int, version: Version | None) -> None:
        super().__init__(epoch)
        self.version = version


class KeyReused(Refusal):
    """The idempotency key came with another request before."""


class Forgotten(Refusal):
    """The revision is below the ``compacted`` one: what keys held then is forgotten."""

    def __init__(self, epoch: int, compacted: int) -> None:
        super().__init__(epoch)
        self.compacted = compacted


class Future(Refusal):
    """The revision is above the present one."""

    def __init__(self, epoch: int, present: int) -> None:
        super().__init__(epoch)
        self.present = present


class NoLease(Refusal):
    """There is no lease with this id; nothing was done."""


class LeaseExists(Refusal):
    """There is one with this id; nothing was done."""


class LeaseCrowded(Refusal):
    """The lease has so many keys that it can have no more; nothing was done."""


class TooManyLeases(Refusal):
    """There can be no more leases; nothing was done."""


class NoRevisions(Refusal):
    """A member of an older version lives, so the log has no revisions yet; nothing was done."""


class TooManyDeletes(Refusal):
    """A transaction would delete more keys than find room in one; nothing was done."""


class TooManyKeys(Refusal):
    """A transaction would look at more keys than it may; nothing was done."""


class Full(Refusal):
    """The volume has no room; nothing was done."""


class TooLarge(Refusal):
    """The main takes no value of this size, other than this worker; nothing was done."""


class Busy(Refusal):
    """Too many requests wait for the volume; nothing was done."""


class Crowded(Refusal):
    """Other requests' bodies and answers hold the memory; nothing was done."""


class Unknown(Refusal):
    """The epoch ended while the write was in flight: it may or may not have been done."""


class Unreadable(Refusal):
    """The value cannot be read from the volume just now."""

    def __init__(self, trouble: FolderError) -> None:
        super().__init__()
        self.trouble = str(trouble)


_REFUSALS = {
    Result.NOT_FOUND: NotFound,
    Result.KEY_REUSED: KeyReused,
    Result.TOO_LARGE: TooLarge,
    Result.TOO_MANY_DELETES: TooManyDeletes,
    Result.TOO_MANY_KEYS: TooManyKeys,
    Result.LEASE_NOT_FOUND: NoLease,
    Result.LEASE_EXISTS: LeaseExists,
    Result.LEASE_CROWDED: LeaseCrowded,
    Result.TOO_MANY_LEASES: TooManyLeases,
    Result.NO_REVISIONS: NoRevisions,
    Result.NO_SPACE: Full,
    Result.BUSY: Busy,
    Result.UNKNOWN: Unknown,
}
_CREATED, _REPLACED, _DELETED = Result.CREATED, Result.REPLACED, Result.DELETED  # slow to look up


class Granted(NamedTuple):
    """A lease that was granted."""

    lease: int
    epoch: int
    revision: int


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
                raise _REFUSALS[result](epoch)
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
        self._transactions: set[asyncio.Task[None]] = set()
        """Those that read values of the volume."""
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
        """Whether this worker is the main, and its writes have revisions."""
        return self._state.service is not None and self._state.service.form != records.PLAIN

    @property
    def full(self) -> bool:
        """Whether the volume has no room, at the main."""
        return self._state.service is not None and self._state.service.full

    @property
    def revision(self) -> int:
        """The revision of that state, as far as it is known to be committed; 0 in a log whose writes have none."""
        state = self._state
        shown = state.replica.index.shown
        return shown if state.service is not None else min(shown, state.certain)

    def require_main(self) -> None:
        """Raise Elsewhere if this worker can carry out no write."""
        if self._state.service is None and self._redirects:
            self.refuse()

    def refuse(self) -> NoReturn:
        """Raise Elsewhere: only the main may answer."""
        raise self._elsewhere()

    def _elsewhere(self) -> Elsewhere:
        return Elsewhere(self._log.main_url if self._redirects else None)

    @property
    def _redirects(self) -> bool:
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
        elif forwarder is not None and (write.lease or not is_text(write.key)) and not self.index.shown:
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

    async def transact(self, request: Transact) -> Transacted:
        """Return what `carry_out` calls back with. Raises Refusal."""
        waiter: asyncio.Future[Transacted | Refusal] = asyncio.get_running_loop().create_future()
        self.carry_out(request, lambda ended: None if waiter.done() else waiter.set_result(ended))
        ended = await waiter
        if isinstance(ended, Refusal):
            raise ended
        return ended

    def carry_out(self, request: Transact, done: Callable[[Transacted | Refusal], None]) -> None:
        """Call ``done`` when a transaction was carried out; it must not raise.

        With a refusal if it was not: NoRevisions, TooManyDeletes, KeyReused, Busy, Unknown, ...
        """
        service = self._state.service
        if service is None:
            done(Elsewhere(self._log.main_url))
        elif service.form == records.PLAIN:
            done(NoRevisions(service.epoch))
        else:
            carrier = transactor.Transactor(service, self._log.values, self.memory, self._transactions)
            carrier.carry_out(request, partial(self._carried_out, done))

    def _carried_out(self, done: Callable[[Transacted | Refusal], None], transacted: Transacted | FolderError) -> None:
        if isinstance(transacted, FolderError):
            done(Unreadable(transacted))
        elif transacted.outcome.result is Result.TRANSACTED:
            done(transacted)
        else:
            outcome = transacted.outcome
            done(self._refusal(outcome.result, transacted.epoch, outcome.revision))

    async def compact(self, revision: int) -> int:
        """Forget what keys held before ``revision``; return the present one. Raises Refusal: Forgotten, Future, ..."""
        service = self._state.service
        if service is None:
            raise Elsewhere(self._log.main_url)
        outcome = await service.write(Compaction(revision, strict=True))
        if outcome.result is not Result.COMPACTED:
            self._refused(outcome.result, service.epoch, outcome.revision)
        return outcome.revision

    async def value(self, key: bytes, entry: Entry) -> bytes:
        """Return the value of an entry of ``key``. Raises Refusal: Forgotten, Unreadable."""
        index = self.index
        value = index.cached_of(key, entry)
        try:
            return await self._log.values.read(key, entry, (0, entry.size)) if value is None else value
        except Moved:
            raise Forgotten(self.epoch, index.compacted) from None
        except FolderError as error:
            raise Unreadable(error) from None

    # ------------------------------------------------------------------ leases

    async def grant(self, lease: int | None, ttl: int) -> Granted:
        """Begin a lease, with an id of its own if ``lease`` is None. Raises Refusal: LeaseExists, TooManyLeases, ..."""
        lessor, service = self._lessor()
        if service.form == records.PLAIN:
            raise NoRevisions(service.epoch)
        while True:
            named = int(self._state.host.runtime.nonce(), 16) % MOST_ID + 1 if lease is None else lease
            outcome, epoch = await lessor.grant(named, ttl)
            if outcome.result is Result.LEASE_GRANTED:
                return Granted(named, epoch, outcome.revision)
            if lease is not None or outcome.result is not Result.LEASE_EXISTS:
                self._refused(outcome.result, epoch, outcome.revision)

    async def keep_alive(self, lease: int) -> tuple[int, int]:
        """Renew a lease; return its seconds to live, and the epoch. Raises Refusal: NoLease, ..."""
        lessor, service = self._lessor()
        if service.crowded:
            raise Busy(service.epoch)
        renewal = await lessor.keep_alive(lease)
        if renewal.result is not Result.COMMITTED:
            self._refused(renewal.result, service.epoch)
        return renewal.ttl, service.epoch

    async def revoke(self, lease: int) -> tuple[int, int]:
        """End a lease, and delete its keys; return epoch and revision. Raises Refusal: NoLease, ..."""
        outcome, epoch = await self._lessor()[0].revoke(lease)
        if outcome.result is not Result.LEASE_REVOKED:
            self._refused(outcome.result, epoch, outcome.revision)
        return epoch, outcome.revision

    async def lease(self, lease: int) -> tuple[Told, int]:
        """Return what is to be told of a lease, and the epoch. Raises Refusal: NoLease, ..."""
        lessor, epoch = await self._fenced_lessor()
        if (told := lessor.told(lease)) is None:
            raise NoLease(epoch)
        return told, epoch

    async def leases(self) -> list[int]:
        """Return the ids of all leases, those that end first in front. Raises Refusal."""
        lessor, _ = await self._fenced_lessor()
        return lessor.ids()

    async def _fenced_lessor(self) -> tuple[Lessor, int]:
        """Return the lessor, and the epoch, behind a check that began after this call. Raises Elsewhere, Busy."""
        lessor, service = self._lessor()
        if service.crowded:
            raise Busy(service.epoch)
        epoch = await service.fence()
        if epoch is None:
            self.refuse()
        return lessor, epoch

    def _lessor(self) -> tuple[Lessor, Service]:
        lessor, service = self._state.lessor, self._state.service
        if lessor is None or service is None:
            raise Elsewhere(self._log.main_url)
        return lessor, service

    def _refused(self, result: Result, epoch: int, revision: int = 0) -> NoReturn:
        raise self._refusal(result, epoch, revision)

    def _refusal(self, result: Result, epoch: int, revision: int) -> Refusal:
        if result is Result.NOT_MAIN:
            return Elsewhere(self._log.main_url)
        index = self.index
        refusal: Refusal
        if result is Result.FORGOTTEN:
            refusal = Forgotten(epoch, index.compacted)
        elif result is Result.TO_COME:
            refusal = Future(epoch, index.revision)
        else:
            refusal = _REFUSALS[result](epoch)
        refusal.revision = revision
        return refusal

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
        waiter: asyncio.Future[int | Refusal] = asyncio.get_running_loop().create_future()
        self.confirm(lambda present: None if waiter.done() else waiter.set_result(present))
        present = await waiter
        if isinstance(present, Refusal):
            raise present
        return present

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
            read.fail(Unreadable(error))
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
