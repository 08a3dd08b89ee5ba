"""The main's service: group commit in a thread of its own, and reads that wait for a seal check.

The threads behind the lanes append, sync and check a batch, and make one check for all the reads that wait
(docs/protocol.md, section 2). All other state belongs to the event loop.

The log belongs to the thread of the commits while a commit is under way, else to the event loop. Beside a commit the
loop touches only two of its fields. It reads `sealed`, a tuple that is replaced as a whole, of segments whose batches
are all applied. It sets `spare` while that is None: a commit that began without one was measured to need none, and a
commit that has used it looks at it no more.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol, TypeVar

from hanas_core.epochs.takeover import Promotion
from hanas_core.log.manifests import Cut
from hanas_core.state.judge import Outcome, Request, Result
from hanas_core.state.queue import MOST_WAITING, Answers, GroupCommit
from hanas_core.state.replica import Replica
from hanas_core.volume.errors import FolderError, Sealed
from hanas_core.volume.held import Held
from hanas_serving.lanes import Lane
from hanas_worker.log.bell import Bell

_log = logging.getLogger("hanas.worker")

T = TypeVar("T")
Waiter = asyncio.Future[Outcome]
Written = Callable[[Outcome, int], None]
"""Is called with the outcome of a write and the epoch it was told in; must not raise."""
Reader = Callable[[int | None], None]
"""Is called with the epoch after a seal check that said "unsealed", with None if it has ended; must not raise."""

MOST_READERS = MOST_WAITING
"""Clients' reads that wait for a check: more are refused, as writes are."""

RESERVE_BYTES = 256 << 10
"""The end of the last segment is kept for deletes and no-ops while no further one can be prepared."""


class Service:
    """Serves one epoch, from its first check to its end."""

    def __init__(
        self,
        promotion: Promotion,
        replica: Replica,
        *,
        lanes: tuple[Lane, Lane],
        timeout: float,
        queue_bytes: int,
        form: int,
        on_end: Callable[["Service", str], None],
        on_room_needed: Callable[[], None],
    ) -> None:
        """Begin to serve. ``lanes``: for commits and for checks, closed at the end; ``timeout``: seconds.
        ``queue_bytes``: what writes may take until they are answered, more are refused. ``form``: of the records.

        An operation on the folder that takes longer ends the epoch.
        """
        self.index = replica.index
        self.log = promotion.log
        self.manifest = promotion.manifest
        self.applied = promotion.applied
        """Where the log is up to which the index holds everything."""
        self.batches = self.checks = 0
        """Batches committed, and seal checks made for reads."""
        self.on_commit = Bell()
        """Is called when `applied` has moved on."""
        self.epoch = promotion.manifest.epoch
        self._lacks_space = self._lacks_reserve = False
        """No further segment can be prepared; there is no room for the claim and the manifest of another main."""
        self._queue: GroupCommit[Written] = GroupCommit(replica, self.epoch, promotion.next_sequence, queue_bytes, form)
        self._watch = promotion.watch
        self._timeout = timeout
        self._on_end = on_end
        self._on_room_needed = on_room_needed
        self._loop = asyncio.get_running_loop()
        self._commit_lane, self._read_lane = lanes
        self._wanted = asyncio.Event()
        self._waiting_since: float | None = None
        self._reading_since: float | None = None
        self._turn, self._check_turn = asyncio.Lock(), asyncio.Lock()
        """Held while a batch, or a check for reads, is under way; both while the epoch rolls."""
        self._starving_since: float | None = None
        """Since when a write has waited for a segment that is being prepared."""
        self._readers: list[Reader] = []
        self._checked: list[Reader] = []
        """The readers that wait for the check that is under way."""
        self._read_wanted = asyncio.Event()
        self._draining = False
        self._ended = False
        self._tasks = (asyncio.create_task(self._commit_for_ever()), asyncio.create_task(self._check_for_ever()))
        for task in self._tasks:
            task.add_done_callback(self._stopped)

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """The segments of this epoch, up to `applied`."""
        epoch, number, offset = self.applied
        return (*(cut for cut in self.log.sealed if cut.number < number), Cut(epoch, number, offset))

    @property
    def held(self) -> tuple[Held, ...]:
        """The files on which acknowledgements rest."""
        return (*self.log.files, self._watch.held)

    @property
    def full(self) -> bool:
        """The volume has no room, so that writes are refused or soon will be."""
        return self._lacks_space or self._lacks_reserve

    @property
    def barren(self) -> bool:
        """Nothing was committed, and something waits for it."""
        return self.batches == 0 and self._waiting_since is not None

    @property
    def ended(self) -> bool:
        """Nothing is served any more."""
        return self._ended

    @property
    def idle(self) -> bool:
        """No commit is under way, not even one that was given up on."""
        return self._commit_lane.idle

    @property
    def stalled_for(self) -> float:
        """Age of the oldest write that is not committed, or of the oldest read that waits for its check, seconds."""
        since = [moment for moment in (self._waiting_since, self._reading_since) if moment is not None]
        return self._loop.time() - min(since) if since else 0.0

    @property
    def starving_for(self) -> float:
        """How long a write has waited for a segment that is being prepared, seconds."""
        return 0.0 if self._starving_since is None else self._loop.time() - self._starving_since

    @property
    def form(self) -> int:
        """Of the records that are written (hanas_core.log.records)."""
        return self._queue.form

    @form.setter
    def form(self, form: int) -> None:
        self._queue.form = form

    def write(self, write: Request) -> Waiter:
        """Queue a write (None: a no-op) and return the future of its outcome."""
        waiter: Waiter = self._loop.create_future()
        self.submit(write, partial(_settle, waiter))
        return waiter

    def submit(self, write: Request, written: Written) -> None:
        """Queue a write (None: a no-op); ``written`` gets its outcome, at once if it cannot be done."""
        if self._ended or self._draining:
            written(Outcome(Result.NOT_MAIN), self.epoch)
            return
        if not self._queue.submit(write, written):
            written(Outcome(Result.BUSY), self.epoch)
            return
        if self._waiting_since is None:
            self._waiting_since = self._loop.time()
        self._wanted.set()

    @property
    def crowded(self) -> bool:
        """So many reads wait for a check that a client's must be refused; the worker's own never is."""
        return len(self._readers) >= MOST_READERS

    def fence(self) -> asyncio.Future[int | None]:
        """Return a future of what `after_check` calls a reader with."""
        return fence(self)

    def after_check(self, reader: Reader) -> None:
        """Call ``reader`` with the epoch once a check that began after this call said "unsealed", else with None."""
        if self._ended:
            reader(None)
            return
        self._readers.append(reader)
        self._read_wanted.set()

    def space_came(self, spare: str) -> None:
        """Space for the next segment has been prepared."""
        assert self.log.spare is None, "beside a commit it may only be set"
        self._lacks_space = False
        self.log.spare = spare
        self._wanted.set()

    def space_lacks(self) -> None:
        """No space can be prepared: the volume is full."""
        self._lacks_space = True
        self._wanted.set()

    def reserve_lacks(self) -> None:
        """Refuse writes: what they take may be the last room that a takeover finds. Deletes go on."""
        self._lacks_reserve = True
        self._wanted.set()

    def reserve_came(self) -> None:
        """Take writes again."""
        self._lacks_reserve = False

    @property
    def _reserved(self) -> int:
        """How much of the log's room is for deletes and no-ops only, bytes."""
        if self._lacks_reserve:
            return self.log.room
        return 0 if self.log.spare else RESERVE_BYTES

    async def drain(self) -> None:
        """Take no more writes and wait until those taken are answered."""
        self._draining = True
        while self._waiting_since is not None and not self._ended:
            done: Waiter = self._loop.create_future()
            self._queue.submit(None, partial(_settle, done))
            self._wanted.set()
            await done

    async def roll(self, begin: Callable[[], Coroutine[Any, Any, Promotion]]) -> bool:
        """Go on in a new epoch of the same main: between two batches and two checks, so that nobody notices.

        ``begin`` is called when nothing is in flight; what it returns begins that epoch. False if this one ended.
        Raises what ``begin`` itself raises; then nothing has happened.
        """
        async with self._turn, self._check_turn:
            if self._ended:
                return False
            assert self.idle
            beginning = begin()
            try:
                promotion = await self._commit_lane.run(beginning, self._timeout)
            except (Sealed, FolderError) as error:
                self.end(f"its epoch could not be rolled: {str(error) or 'another claimed the next one'}")
                return False
            if self.ended:  # meanwhile
                return False
            self.log, self.applied, self.manifest = promotion.log, promotion.applied, promotion.manifest
            self.epoch = promotion.manifest.epoch
            self._watch = promotion.watch
            self._queue.roll(self.epoch)
            return True

    @property
    def next_sequence(self) -> int:
        """Sequence of the next write."""
        return self._queue.next_sequence

    def end(self, why: str) -> None:
        """Stop serving: what is in flight has an unknown outcome, what waits was not done."""
        if self._ended:
            return
        self._ended = True
        for task in self._tasks:
            task.cancel()
        # Told in the next turn of the loop: where clients are sent depends on what others make of this end meanwhile.
        self._loop.call_soon(self._answer, self._queue.ended())
        readers, self._checked, self._readers = [*self._checked, *self._readers], [], []
        self._loop.call_soon(_tell_readers, readers, None)
        self._on_end(self, why)
        self._commit_lane.close()
        self._read_lane.close()

    def _stopped(self, task: asyncio.Task[None]) -> None:
        """A main that cannot commit or check any more must not stay the main."""
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("an error of this program", exc_info=error)
            self.end(f"an error of this program: {error!r}")

    async def _commit_for_ever(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._queue.waiting and await self._commit_once():
                pass
            if not self._queue.waiting:
                self._waiting_since = None

    async def _commit_once(self) -> bool:
        """Commit one batch; False if what waits needs space that is not there yet."""
        async with self._turn:
            assert self.idle, "the log is the loop's until the commit begins"
            reserve = self._reserved
            batch = self._queue.next_batch(self.log.room, reserve)
            if batch is None:
                self._waiting_since = None  # for space that is being prepared, which is no stall
                if self._starving_since is None:
                    self._starving_since = self._loop.time()
                self._on_room_needed()
                if self.full:
                    self._answer(self._queue.refuse_for_space(self.log.room, reserve))
                return self.full
            self._waiting_since, self._starving_since = self._loop.time(), None
            try:
                position = await self._commit_lane.run(self.log.commit(batch), self._timeout)
            except (Sealed, FolderError) as error:
                self.end("the epoch is sealed" if isinstance(error, Sealed) else f"a commit failed: {error}")
                return False
            self._answer(self._queue.committed(position, encrypted=self.log.encrypted))
            self.applied = position
            self.batches += 1
            self.on_commit()
            if self.log.spare is None:
                self._on_room_needed()
            return True

    async def _check_for_ever(self) -> None:
        while True:
            await self._read_wanted.wait()
            self._read_wanted.clear()
            async with self._check_turn:
                self._checked, self._readers = self._readers, []
                self._reading_since = self._loop.time()
                try:
                    await self._read_lane.run(self._watch.check(), self._timeout)
                except (Sealed, FolderError) as error:
                    self.end("the epoch is sealed" if isinstance(error, Sealed) else f"a seal check failed: {error}")
                    return
            self._reading_since = None
            self.checks += 1
            checked, self._checked = self._checked, []
            _tell_readers(checked, self.epoch)

    def _answer(self, answers: Answers[Written]) -> None:
        for written, outcome in answers:
            written(outcome, self.epoch)


class Checking(Protocol):
    """What readers can wait at."""

    def after_check(self, reader: Reader) -> None:
        """Call ``reader`` when the state here holds all that was acknowledged before this call; None: it never did."""


def fence(server: Checking) -> asyncio.Future[int | None]:
    """Return a future of what ``server`` calls a reader with."""
    waiter: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
    server.after_check(partial(_settle, waiter))
    return waiter


def _settle(waiter: asyncio.Future[T], outcome: T, _epoch: int | None = None) -> None:
    """Give an outcome to whoever waits for it, unless it went away."""
    if not waiter.done():
        waiter.set_result(outcome)


def _tell_readers(readers: list[Reader], epoch: int | None) -> None:
    for reader in readers:
        reader(epoch)
