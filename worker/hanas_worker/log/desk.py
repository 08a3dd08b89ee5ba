"""The main's side of forwarding: other workers bring the writes and reads of their clients (docs/protocol.md, 2.9).

A desk lives as long as its service, so for one tenure. Each line of a forwarder is a visit. The desk remembers which
numbers of each session wait in the queue: what is committed is in the log's own table of sessions.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from hanas_core.log.positions import Version
from hanas_core.log.records import Forwarded
from hanas_core.state.judge import ForwardedWrite, Opening, Outcome, Result, recorded
from hanas_core.state.sessions import WINDOW, Session
from hanas_serving.lines import Improper, Line
from hanas_worker.log import messages
from hanas_worker.log.messages import MOST_CALLS, Ask, Call, Called, Hello, News, Reached, Told, Welcome, Writes
from hanas_worker.log.service import Service

CarryOut = Callable[[bytes], Coroutine[Any, Any, bytes | None]]
"""Carries out a call and returns its answer; None: nothing was done. Raises Improper."""


class Desk:
    """Takes what forwarders bring during one tenure. It belongs to the event loop."""

    def __init__(self, service: Service, most_value_bytes: int, carry_out: CarryOut, rest: float) -> None:
        """Serve as ``service`` does, with values of ``most_value_bytes`` at most: no larger one fits into its log.

        ``carry_out`` returns the answer to a call. Raises Improper. Whoever waits for one hears something at least
        every ``rest`` seconds.
        """
        self.carry_out, self.rest = carry_out, rest
        self.service = service
        self.most_value_bytes = most_value_bytes
        service.on_commit.listen(self._committed)
        self._visits: dict[Version, Visit] = {}
        """The newest visit of each session."""
        self._pending: defaultdict[Version, set[int]] = defaultdict(set)
        """Numbers that wait in the queue, by their sessions."""
        self._open: set[Visit] = set()

    def visit(self, member: str) -> "Visit":
        """Return the receiver of a line that ``member`` has opened."""
        return Visit(self, member)

    def _committed(self) -> None:
        """Tell every forwarder, in the next turn of the loop, that the log has grown."""
        for visit in self._visits.values():
            visit.tell_soon()

    def end(self) -> None:
        """End all visits: the tenure has ended."""
        for visit in list(self._open):
            visit.leave()
        self._visits.clear()

    def session(self, version: Version | None) -> Session | None:
        """Return a session that the log knows."""
        return None if version is None else self.service.index.sessions.get(version)

    def enter(self, visit: "Visit") -> None:
        """Count a line that has opened; it ends at once if the tenure has ended."""
        self._open.add(visit)
        if self.service.ended:
            visit.leave()

    def left(self, visit: "Visit") -> None:
        """Forget a line that has ended."""
        self._open.discard(visit)
        if visit.session is not None and self._visits.get(visit.session) is visit:
            del self._visits[visit.session]
            self._tidy(visit.session)

    def settle(self, visit: "Visit", session: Version) -> None:
        """Let ``visit`` speak for ``session``; nothing is taken from an older one any more."""
        older = self._visits.get(session)
        self._visits[session] = visit
        if older is not None:
            older.leave()

    def pending(self, session: Version) -> set[int]:
        """Return the numbers of a session that wait in the queue."""
        return self._pending[session]

    def written(self, session: Version, number: int, outcome: Outcome, _epoch: int) -> None:
        """Take the outcome of a write out of the queue, and have it told to whoever speaks for its session now."""
        self._pending[session].discard(number)
        visit = self._visits.get(session)
        if visit is not None:
            visit.tell(Told(number, outcome.result, outcome.version, outcome.revision))
        else:
            self._tidy(session)

    def _tidy(self, session: Version) -> None:
        """Forget a session that nobody speaks for, and of which nothing waits."""
        if not self._pending[session]:
            del self._pending[session]


class Visit:
    """One line of a forwarder, at the main. A `hanas_serving.lines.Receiver`."""

    _line: Line

    def __init__(self, desk: Desk, member: str) -> None:
        """Expect the hello of ``member``."""
        self._desk = desk
        self._member = member
        self.session: Version | None = None
        """That which it speaks for, once it was welcomed or is about to be."""
        self._greeted = self._welcomed = self._ended = False
        self._told: list[Told] = []
        self._telling = False
        """Something will be told in the next turn of the loop."""
        self._calls: dict[int, asyncio.Task[None]] = {}
        """Those that are carried out, by their numbers."""

    # ------------------------------------------------------------------ the line's calls

    def opened(self, line: Line) -> None:
        """Begin."""
        self._line = line
        self._desk.enter(self)

    def closed(self) -> None:
        """End."""
        self._ended = True
        self._desk.left(self)

    def leave(self) -> None:
        """End the line."""
        self._line.close()

    def take(self, message: bytes) -> None:
        """Take a message. Raises Improper."""
        content = messages.of_forwarder(message)
        if isinstance(content, Hello):
            self._hello(content)
        elif not self._welcomed or self.session is None:
            raise Improper("nothing but a hello comes before the welcome")
        elif isinstance(content, Ask):
            self._desk.service.after_check(partial(self._reached, content.number))
        elif isinstance(content, Call):
            self._call(content)
        else:
            self._write(self.session, content)

    # ------------------------------------------------------------------ hello and welcome

    def _hello(self, hello: Hello) -> None:
        if self._greeted or len(hello.asked) > WINDOW:
            raise Improper("one hello opens a line, and asks about as many writes as can be in flight")
        self._greeted = True
        if self._desk.session(hello.session) is None:
            self._desk.service.submit(Opening(self._member), self._begun)
            return
        assert hello.session is not None
        self.session = hello.session
        self._desk.settle(self, hello.session)
        self._desk.service.after_check(partial(self._known, hello))

    def _begun(self, outcome: Outcome, epoch: int) -> None:
        """Go on with a session of its own."""
        if outcome.result is not Result.SESSION_OPENED or outcome.version is None:
            self.leave()  # there was no room, or the tenure has ended: it may come again
        elif not self._ended:
            self.session = outcome.version
            self._desk.settle(self, outcome.version)
            self._welcome(Welcome(epoch, outcome.version))

    def _known(self, hello: Hello, epoch: int | None) -> None:
        """Say what is known of the writes that were asked about, after a check that began after the question."""
        if epoch is None or self._ended or self.session is None:
            return
        session = self._desk.session(self.session)
        if session is None:  # it was replaced meanwhile
            self.leave()
            return
        pending, told = self._desk.pending(self.session), {each.number: each for each in self._told}
        self._told = []  # of copies that an older line brought
        for number in hello.asked:
            if (outcome := recorded(session, number)) is not None:
                told[number] = Told(number, outcome.result, outcome.version, outcome.revision)
        waiting = tuple(number for number in hello.asked if number in pending)
        self._welcome(Welcome(epoch, self.session, tuple(told.values()), waiting))

    def _welcome(self, welcome: Welcome) -> None:
        self._welcomed = True
        self._line.send(messages.encode(welcome))

    # ------------------------------------------------------------------ reads and writes

    def _reached(self, number: int, epoch: int | None) -> None:
        if epoch is not None and not self._ended:
            self._line.send(messages.encode(Reached(number, epoch, self._desk.service.applied)))

    def _write(self, session: Version, writes: Writes) -> None:
        pending, service = self._desk.pending(session), self._desk.service
        for forward in writes.writes:
            if forward.number in pending:
                continue  # it waits already; its outcome comes
            write = ForwardedWrite(messages.write_of(forward), Forwarded(session, forward.number, writes.lowest))
            if not writes.lowest <= forward.number < writes.lowest + WINDOW:
                raise Improper("more writes than a forwarder may have without an outcome")
            if forward.value is not None and len(forward.value) > self._desk.most_value_bytes:
                self.tell(Told(forward.number, Result.TOO_LARGE))
                continue
            pending.add(forward.number)
            service.submit(write, partial(self._desk.written, session, forward.number))

    # ------------------------------------------------------------------ calls

    def _call(self, call: Call) -> None:
        if call.number in self._calls or len(self._calls) == MOST_CALLS:
            raise Improper("a call that is under way, or one more than a forwarder may have")
        self._calls[call.number] = asyncio.create_task(self._carry_out(call))

    async def _carry_out(self, call: Call) -> None:
        """Carry out a call, whether or not its line still stands then."""
        carrying = asyncio.create_task(self._desk.carry_out(call.content))
        while not (await asyncio.wait((carrying,), timeout=self._desk.rest))[0]:
            self.tell_soon()  # silence would say that the line is cut
        del self._calls[call.number]
        try:
            content = carrying.result()
        except Improper:
            self.leave()
            return
        if not self._ended:
            self._line.send(messages.encode(Called(call.number, content)))

    # ------------------------------------------------------------------ what is told

    def tell(self, told: Told) -> None:
        """Tell how a write ended, with the others of this turn of the loop."""
        if told.result in {Result.SESSION_ENDED, Result.NUMBER_OUT_OF_WINDOW}:
            self.leave()  # it learns what became of it when it comes again
        elif told.result not in {Result.NOT_MAIN, Result.UNKNOWN}:  # the tenure has ended; the next main knows
            self._told.append(told)
            self.tell_soon()

    def tell_soon(self) -> None:
        """Tell how far the log is committed."""
        if not self._telling and self._welcomed and not self._ended:
            self._telling = True
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._telling = False
        service = self._desk.service
        told, self._told = self._told, []
        if not self._ended:
            self._line.send(messages.encode(News(service.epoch, service.applied, tuple(told))))
