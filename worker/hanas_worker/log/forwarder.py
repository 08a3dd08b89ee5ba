"""A backup's side of forwarding: it brings the writes and reads of its clients to the main (docs/protocol.md, 2.9).

To the store it is what a `hanas_worker.log.service.Service` is: it takes writes and readers, and calls them back. It
speaks over one line at a time. What was sent over a line that has ended is asked about over the next one.
"""

import asyncio
import math
from collections import deque
from collections.abc import Iterable
from itertools import count
from typing import NamedTuple

from hanas_core.log.positions import NOWHERE, Position, Version
from hanas_core.members.roles import Role
from hanas_core.state.judge import Outcome, Result, Write
from hanas_core.state.sessions import WINDOW
from hanas_core.volume import names
from hanas_serving.lines import Improper, Line
from hanas_worker.log import messages
from hanas_worker.log.messages import Ask, Call, Called, Hello, News, Reached, Told, Welcome, Writes
from hanas_worker.log.service import MOST_READERS, Reader, Written
from hanas_worker.log.state import LogState

_MOST_WAITING = 8192
"""Writes of clients that wait here: more are refused."""
_MOST_CALLS = 1024
"""Calls of clients that wait here: more are refused."""
_MOST_BYTES = 16 << 20
"""What the writes of one forwarder that are at the main may take, unless it is a single one; bytes."""
_MOST_FRAMES = 2
"""Messages with writes that are not answered: one is being committed, and one waits, which grows with the load."""
_MOST_FRAME_BYTES = 4 << 20
_SILENCE = 3
"""A main that says nothing for so many `suspect_after`, or ..."""
_SILENCES = 4
"""... for so large a part of the patience, if that is less, while somebody waits, is asked over another line."""
_LOOKS = 20
"""So often in the patience of a client it is looked whether it is over; or ..."""
_LOOKS_FOR_SILENCE = 2
"""... so often in the longest silence."""


class _Waiting:
    """A client's write until it has an outcome."""

    __slots__ = ("frame", "sent", "size", "until", "write", "written")

    def __init__(self, write: Write, written: Written, until: float) -> None:
        self.write, self.written, self.until = write, written, until
        self.size = write.size
        self.sent = False
        """It may have come to a main."""
        self.frame: _Frame | None = None
        """The message that it was sent in over the present line."""


class _Call:
    """A client's call until it is answered."""

    __slots__ = ("answered", "content", "repeatable", "sent", "until")

    def __init__(self, content: bytes, *, repeatable: bool, until: float) -> None:
        self.content, self.repeatable, self.until = content, repeatable, until
        self.sent = False
        """It may have been carried out."""
        self.answered: asyncio.Future[bytes | Result] = asyncio.get_running_loop().create_future()

    def end(self, answer: bytes | Result) -> None:
        if not self.answered.done():  # else its client is gone
            self.answered.set_result(answer)


class _Frame:
    """A message with writes over the present line."""

    __slots__ = ("unanswered",)

    def __init__(self, unanswered: int) -> None:
        self.unanswered = unanswered


class Figures(NamedTuple):
    """What people are told of a forwarder."""

    connected: bool
    """A main has welcomed it over the present line."""
    waiting: int
    """Reads and writes of clients without an answer."""
    writes: int
    questions: int
    """So many came, and were asked, so far."""


NO_FIGURES = Figures(connected=False, waiting=0, writes=0, questions=0)
"""Those of a worker that redirects."""


class Forwarder:
    """Forwards for one log. It belongs to the event loop. A `hanas_serving.lines.Receiver`, of one line after another.

    A write without an outcome after ``patience`` seconds is answered as unknown, or as not done if it was never sent.
    """

    def __init__(self, state: LogState, patience: float) -> None:
        """Wait for a line."""
        self._state = state
        self._patience = patience
        self._most_bytes = state.host.settings.queue_bytes
        """What the writes of clients may take that wait here; one may always wait."""
        self._loop = asyncio.get_running_loop()
        self._line: Line | None = None
        self._welcomed = False
        self.declined = False
        """The main takes no lines of forwarders: it knows a member of an older version, or is one. Clients are
        redirected."""
        self._heard_at = 0.0
        self._silence = min(_SILENCE * state.host.timing.suspect_after, patience / _SILENCES)
        self._session: Version | None = None
        self._numbers = count(1)
        self._waiting: dict[int, _Waiting] = {}
        """The writes without an outcome, by their numbers, which ascend."""
        self._unsent: deque[int] = deque()
        """Those of them that are to be sent, in order."""
        self._bytes = 0
        """What the writes in `_waiting` take."""
        self._in_flight = self._in_flight_bytes = 0
        """Those of them that were sent over the present line."""
        self._frames = 0
        self._sending = False
        """More is sent in the next turn of the loop."""
        self._calls: dict[int, _Call] = {}
        """The calls without an answer, by their numbers."""
        self._calls_bytes = 0
        """What they take."""
        self._calls_unsent: deque[int] = deque()
        self._calls_sent: set[int] = set()
        """Those that were sent over the present line and are not answered."""
        self._call_numbers = count(1)
        self._readers: list[tuple[Reader, float]] = []
        """Reads that the next question is for, and until when their clients wait."""
        self._asked: list[tuple[Reader, float]] = []
        """Reads that the question under way is for."""
        self._behind: list[tuple[Position, int, list[tuple[Reader, float]]]] = []
        """Reads that wait for this worker's copy, the position that it must reach, and the epoch that told it."""
        self._confirmed = NOWHERE
        """The highest position that readers were told to be held here."""
        self._reads = 0
        """How many reads wait for anything of this."""
        self._question = self._writes = 0
        self._look: asyncio.TimerHandle | None = None
        state.on_applied.listen(self.applied)

    # ------------------------------------------------------------------ what the store asks

    @property
    def idle(self) -> bool:
        """Nobody waits for anything."""
        return not (self._waiting or self._calls or self._reads)

    @property
    def figures(self) -> Figures:
        """What people are told."""
        return Figures(
            self._welcomed, len(self._waiting) + len(self._calls) + self._reads, self._writes, self._question
        )

    @property
    def crowded(self) -> bool:
        """So many reads wait that a client's must be refused."""
        return self._reads >= MOST_READERS

    def submit(self, write: Write, written: Written) -> None:
        """Have the main carry out ``write``; ``written`` gets its outcome."""
        size = write.size
        if self.declined:
            written(Outcome(Result.NOT_MAIN), self._state.member.epoch)
            return
        if self._waiting and (len(self._waiting) >= _MOST_WAITING or self._bytes + size > self._most_bytes):
            written(Outcome(Result.BUSY), self._state.member.epoch)
            return
        self._writes += 1
        number = next(self._numbers)
        self._waiting[number] = _Waiting(write, written, self._loop.time() + self._patience)
        self._bytes += size
        self._unsent.append(number)
        self._send_soon()
        self._watch()

    async def call(self, content: bytes, *, repeatable: bool) -> bytes | Result:
        """Have the main carry out a call. Return its answer, or NOT_MAIN or BUSY: nothing was done; or UNKNOWN.

        ``repeatable``: it may be carried out twice, so it is sent again where it is not known whether it was.
        """
        if self.declined:
            return Result.NOT_MAIN
        crowded = len(self._calls) >= _MOST_CALLS or self._calls_bytes + len(content) > self._most_bytes
        if self._calls and crowded:
            return Result.BUSY
        number = next(self._call_numbers)
        call = self._calls[number] = _Call(content, repeatable=repeatable, until=self._loop.time() + self._patience)
        self._calls_bytes += len(content)
        self._calls_unsent.append(number)
        self._send_soon()
        self._watch()
        return await call.answered

    def after_check(self, reader: Reader) -> None:
        """Call ``reader`` when the copy here holds all that was acknowledged before this call; None: it never did."""
        if self.declined:
            reader(None)
            return
        self._readers.append((reader, self._loop.time() + self._patience))
        self._reads += 1
        self._send_soon()
        self._watch()

    # ------------------------------------------------------------------ the line's calls

    def opened(self, line: Line) -> None:
        """Begin with a line to the main of now; the one before has ended."""
        assert self._line is None, "one line at a time"
        self._line, self._heard_at = line, self._loop.time()
        asked = tuple(number for number, waiting in self._waiting.items() if waiting.sent)
        line.send(messages.encode(Hello(self._session, asked)))

    def closed(self) -> None:
        """End: nothing is known of what was sent, and the questions are asked anew."""
        self._line, self._welcomed = None, False
        self._frames = self._in_flight = self._in_flight_bytes = 0
        for waiting in self._waiting.values():
            waiting.frame = None
        self._readers[:0], self._asked = self._asked, []
        sent, self._calls_sent = sorted(self._calls_sent), set()
        for number in sent:
            call = self._calls.get(number)
            if call is not None and call.sent and not call.repeatable:
                self._end_call(number, Result.UNKNOWN)
        self._calls_unsent.extendleft(number for number in reversed(sent) if number in self._calls)

    def decline(self) -> None:
        """Redirect clients, until there is a line again."""
        self.declined = True
        self._give_up([number for number, waiting in self._waiting.items() if not waiting.sent], until=math.inf)
        for number in list(self._calls):
            self._end_call(number, Result.NOT_MAIN)

    def take(self, message: bytes) -> None:
        """Take a message of the main. Raises Improper."""
        self._heard_at = self._loop.time()
        match messages.of_main(message):
            case Welcome() as welcome if not self._welcomed:
                self._take_welcome(welcome)
            case News() as news if self._welcomed:
                self._settle(news.told, news.epoch)
                self._state.know_committed(news.committed)
            case Reached() as reached if self._welcomed and self._asked and reached.number == self._question:
                asked, self._asked = self._asked, []
                self._behind.append((reached.position, reached.epoch, asked))
                self._state.know_committed(reached.position)
                self.applied()
            case Called() as called if self._welcomed and called.number in self._calls_sent:
                self._take_answer(called)
            case other:
                raise Improper(f"{type(other).__name__} was not expected")
        self._send_soon()

    def _take_welcome(self, welcome: Welcome) -> None:
        self._welcomed, self.declined = True, False
        if welcome.session != self._session:
            self._begin(welcome.session)
            return
        self._settle(welcome.told, welcome.epoch)
        pending = [number for number in welcome.pending if number in self._waiting]
        self._flies(pending)
        again = [number for number, waiting in self._waiting.items() if waiting.frame is None]
        self._unsent = deque(again)

    def _begin(self, session: Version) -> None:
        """Go on in a new session: of what was sent in the one before, nobody can tell any more."""
        ended = self._session is not None
        self._session = session
        waiting, self._waiting, self._numbers = self._waiting.values(), {}, count(1)
        self._bytes = 0
        lost = [each for each in waiting if each.sent]
        assert ended or not lost, "nothing is sent without a session"
        for each in waiting:
            if not each.sent:
                self._waiting[next(self._numbers)] = each
                self._bytes += each.size
        self._unsent = deque(self._waiting)
        for each in lost:
            each.written(Outcome(Result.UNKNOWN), session.epoch)

    def _settle(self, told: Iterable[Told], epoch: int) -> None:
        for each in told:
            waiting = self._drop(each.number)
            if waiting is not None:
                waiting.written(messages.outcome(each), epoch)

    def _take_answer(self, called: Called) -> None:
        if called.content is not None:
            self._calls_sent.discard(called.number)
            self._end_call(called.number, called.content)
        elif (call := self._calls.get(called.number)) is not None:  # the tenure has ended, and the line is about to
            call.sent = False

    def _end_call(self, number: int, answer: bytes | Result) -> None:
        """Answer a call, unless that was done."""
        if (call := self._calls.pop(number, None)) is not None:
            self._calls_bytes -= len(call.content)
            call.end(answer)

    def _drop(self, number: int) -> _Waiting | None:
        """Wait for the outcome of this write no longer."""
        waiting = self._waiting.pop(number, None)
        if waiting is None:
            return None  # its client was answered meanwhile
        self._bytes -= waiting.size
        frame = waiting.frame
        if frame is not None:
            self._in_flight -= 1
            self._in_flight_bytes -= waiting.size
            frame.unanswered -= 1
            self._frames -= frame.unanswered == 0
        return waiting

    # ------------------------------------------------------------------ what is sent

    def _send_soon(self) -> None:
        if self._welcomed and not self._sending and (self._unsent or self._readers or self._calls_unsent):
            self._sending = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._sending = False
        line = self._line
        if line is None or not self._welcomed:
            return
        if self._readers and not self._asked:
            self._asked, self._readers = self._readers, []
            self._question += 1
            line.send(messages.encode(Ask(self._question)))
        while self._calls_unsent and len(self._calls_sent) < messages.MOST_CALLS:
            number = self._calls_unsent.popleft()
            if (call := self._calls.get(number)) is not None:
                call.sent = True
                self._calls_sent.add(number)
                line.send(messages.encode(Call(number, call.content)))
        while self._frames < _MOST_FRAMES and (numbers := self._next_frame()):
            forwards = tuple(messages.forward(number, self._waiting[number].write) for number in numbers)
            self._flies(numbers)
            line.send(messages.encode(Writes(next(iter(self._waiting)), forwards)))

    def _next_frame(self) -> list[int]:
        """Take the numbers of the next message off the queue."""
        numbers, size = list[int](), 0
        end = next(iter(self._waiting), 0) + WINDOW
        while self._unsent and self._unsent[0] < end:
            waiting = self._waiting.get(self._unsent[0])
            if waiting is not None:
                flying = self._in_flight + len(numbers)
                if flying and self._in_flight_bytes + size + waiting.size > _MOST_BYTES:
                    break
                if numbers and size + waiting.size > _MOST_FRAME_BYTES:
                    break
                numbers.append(self._unsent[0])
                size += waiting.size
            self._unsent.popleft()
        return numbers

    def _flies(self, numbers: list[int]) -> None:
        """Note that these are at the main."""
        if not numbers:
            return
        frame = _Frame(len(numbers))
        self._frames += 1
        for number in numbers:
            waiting = self._waiting[number]
            waiting.sent, waiting.frame = True, frame
            self._in_flight += 1
            self._in_flight_bytes += waiting.size

    # ------------------------------------------------------------------ reads

    def applied(self) -> None:
        """Answer the reads for which this worker's copy has come far enough."""
        while self._behind and self._holds(self._behind[0][0]):
            position, epoch, readers = self._behind.pop(0)
            self._confirmed = max(self._confirmed, position)
            self._state.confirmed(epoch)
            self._reads -= len(readers)
            for reader, _ in readers:
                reader(epoch)

    @property
    def readable(self) -> bool:
        """Whether the copy can be read now, and holds all that readers were told that it does."""
        return self._holds(self._confirmed)

    def _holds(self, position: Position) -> bool:
        """Return whether the copy can be read, and holds everything before ``position``.

        A copy that is made anew reads merged segments first, whose numbers are higher than those of the others. One
        from a snapshot has some keys as they were later, until it has come that far.
        """
        state = self._state
        if state.service is not None:
            return state.service.epoch >= position.epoch
        index, applied = state.index, state.replica.applied
        if index is None or state.member.role is not Role.BACKUP or applied.number >= names.MERGED_FROM:
            return False
        return applied >= position and index.keys.noted <= index.revision

    # ------------------------------------------------------------------ the end of patience

    def _watch(self) -> None:
        """Look at the clock while somebody waits; before, the main had no reason to say anything."""
        if self._look is None:
            self._heard_at = self._loop.time()
            self._look_later()

    def _look_later(self) -> None:
        soon = min(self._patience / _LOOKS, self._silence / _LOOKS_FOR_SILENCE)
        self._look = self._loop.call_later(soon, self._look_at_time)

    def _look_at_time(self) -> None:
        """Answer those who have waited for too long."""
        now = self._loop.time()
        if self._line is not None and now - self._heard_at > self._silence:
            self._line.close()  # a link that was cut may be whole again long before the connection notices
        self._give_up([number for number, waiting in self._waiting.items() if waiting.until <= now], now)
        for number, call in [(number, call) for number, call in self._calls.items() if call.until <= now]:
            self._end_call(number, Result.UNKNOWN if call.sent else Result.NOT_MAIN)
        if self.idle:
            self._look = None
        else:
            self._look_later()

    def _give_up(self, numbers: list[int], until: float) -> None:
        """Answer these writes, and the reads whose clients wait ``until`` then."""
        for number in numbers:
            waiting = self._drop(number)
            assert waiting is not None
            waiting.written(Outcome(Result.UNKNOWN if waiting.sent else Result.NOT_MAIN), self._state.member.epoch)
        late = list[Reader]()
        for readers in (self._readers, self._asked, *(entry[2] for entry in self._behind)):
            late += [reader for reader, end in readers if end <= until]
            readers[:] = [(reader, end) for reader, end in readers if end > until]
        self._reads -= len(late)
        for reader in late:
            reader(None)
