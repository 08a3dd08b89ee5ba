"""``/v1/kv/{key}``: from a request to the store, and from there to the answer, which carries ``HANas-Epoch``.

A plain request comes here the direct way and is answered by calls, without a coroutine.
"""

from typing import NamedTuple

import msgspec

from hanas_core.state.entries import Entry
from hanas_core.state.judge import ANY, Outcome, Result, Write
from hanas_core.state.keytexts import shown
from hanas_core.state.transactions import Transact
from hanas_serving.answers import INERT, Answer, Headers
from hanas_serving.audit import Audit
from hanas_serving.callers import Callers
from hanas_serving.direct import Exchange
from hanas_serving.gate import Caller, Gate
from hanas_serving.principals import Action, Principal, Standing, may
from hanas_serving.problems import Problem
from hanas_worker.faces.http import requests
from hanas_worker.faces.http.answers import TRY_AGAIN, Reply, fail, revision_line, token_needed
from hanas_worker.faces.http.requests import Options
from hanas_worker.faces.http.transactions import needs_of
from hanas_worker.store import Part, PendingRead, PendingWrite, Store

_ACTIONS = {b"GET": Action.READ, b"PUT": Action.WRITE, b"DELETE": Action.DELETE}
_VALUE_LINES = b'etag: "%d-%d"\r\nhanas-epoch: %d\r\n%baccept-ranges: bytes\r\n' + INERT
_PLAIN_LINES = (
    b'content-type: %b\r\netag: "%d-%d"\r\nhanas-epoch: %d\r\nhanas-revision: %d\r\naccept-ranges: bytes\r\n'
    + INERT
    + b"content-length: %d\r\n"
)
_REPLACED, _DELETED = Result.REPLACED, Result.DELETED  # a member of an enumeration is slow to look up


class Admitted(NamedTuple):
    """Who was admitted to a key."""

    principal: Principal
    caller: Caller


class Keys:
    """The keys of one worker's store; called with a plain request, answers it by calls instead of coroutines."""

    methods = frozenset(_ACTIONS)
    prefix = requests.KEY_PATH

    def __init__(self, callers: Callers, value_bytes: int, gate: Gate) -> None:
        """Allow values of ``value_bytes`` at most, and each of ``callers`` what that one may do."""
        self.gate = gate
        self.store: Store | None = None
        """Set once this worker has joined."""
        self.value_bytes = value_bytes
        self.callers = callers
        self._anonymous = callers.keys_are_open
        self._unguarded = callers.keys_are_open and not gate.audit.of_writes
        """Nothing depends on who asks."""

    @property
    def epoch(self) -> int | None:
        """Highest epoch known, if any."""
        return None if self.store is None else self.store.epoch

    def is_plain(self, headers: Headers) -> bool:
        """Return whether nothing in the headers needs the ordinary way, whatever the method is."""
        return self.gate.is_plain(headers, anonymous=self._anonymous)

    def __call__(self, exchange: Exchange) -> None:
        """Answer one request, now or when a check or a commit has returned."""
        try:
            method, headers = exchange.method, exchange.headers
            store, admitted = self.store, None
            if store is None or not self._unguarded:
                caller = Caller(dict(headers), exchange.wire.address, exchange.wire.peer)
                content = requests.content_of(exchange.path)
                admitted = self.admit(caller, _ACTIONS[method], content)
                store, key = self.joined(), requests.checked(content)
            else:
                key = requests.key_of(exchange.path)
            if method == b"GET":
                store.read(KeyRead(store, key, False, exchange, requests.options_of(headers)))
                return
            value = exchange.body if method == b"PUT" else None
            write = requests.write_of(key, headers, value)
            if value is not None and len(value) > self.value_bytes:
                raise self.too_large(len(value))
            if admitted is None:
                store.write(write, KeyWrite(store, exchange))
            else:
                write = self.guarded(write, admitted)
                store.write(write, KeyWrite(store, self.noted(exchange, write, admitted)))
        except Exception as error:
            fail(exchange, error, self.store)

    def admit(self, caller: Caller, action: Action, content: bytes) -> Admitted:
        """Return who asks for ``action`` on a key. Raises Problem: 401, 403, 421, 429."""
        return Admitted(self.gate.admit(caller, self.callers, action, token_needed, key=content), caller)

    def joined(self) -> Store:
        """Return the store. Raises Problem: 503."""
        if self.store is None:
            raise Problem(503, "this worker has not joined yet; try again", TRY_AGAIN)
        return self.store

    def guarded(self, write: Write, admitted: Admitted) -> Write:
        """Return ``write`` as those may do it who were admitted to write the key. Raises Problem: 403.

        A condition tells about the version that is there, so it takes the right to read. Whoever has a name has
        idempotency keys of its own, which no header can express: nobody meets those of others.
        """
        principal, caller = admitted
        conditional = write.if_match is not None or write.if_none_match is not None
        if conditional and not may(principal, Action.READ, write.key):
            raise self.gate.denial(principal, caller, self.callers, Action.READ, token_needed, write.key)
        if principal.standing is Standing.LISTED and write.idempotency_key is not None:
            return msgspec.structs.replace(write, idempotency_key=f"{principal.name}\n{write.idempotency_key}")
        return write

    def permitted(self, request: Transact, caller: Caller) -> Transact:
        """Return a transaction as that one may do it who asks. Raises Problem: 401, 403, 421, 429."""
        gate, (first, *others) = self.gate, needs_of(request.transaction)
        principal = gate.admit(caller, self.callers, first.action, token_needed, key=first.content)
        for action, content in others:
            if not may(principal, action, content):
                raise gate.denial(principal, caller, self.callers, action, token_needed, content)
        if principal.standing is Standing.LISTED and request.idempotency_key is not None:
            own_key = f"{principal.name}\n{request.idempotency_key}"
            return msgspec.structs.replace(request, idempotency_key=own_key)
        return request

    def note_transaction(self, request: Transact, caller: Caller, status: int) -> None:
        """Have the audit log tell of what a transaction may have changed, if it has lines about writes."""
        if not self.gate.audit.of_writes:
            return
        principal = self.callers.identify(caller.headers.get(b"authorization"), caller.peer)
        for action, content in needs_of(request.transaction):
            if action in {Action.WRITE, Action.DELETE}:
                self.gate.audit.written(principal, action, content.decode(), caller.address, status)

    def noted(self, reply: Reply, write: Write, admitted: Admitted) -> Reply:
        """Return where the answer to ``write`` goes: past the audit log, if that has lines about writes."""
        return _Noted(reply, self.gate.audit, write, admitted) if self.gate.audit.of_writes else reply

    def too_large(self, size: int) -> Problem:
        """Return the answer to a value of this size.

        The connection stays open and swallows the rest: closed under a client that still sends, it would be reset,
        and this answer lost.
        """
        detail = f"the value has {size} bytes or more; at most {self.value_bytes} are allowed (HANAS_VALUE_BYTES)"
        return Problem(413, detail)


class _Noted:
    """A reply to a write that the audit log has a line about."""

    def __init__(self, reply: Reply, audit: Audit, write: Write, admitted: Admitted) -> None:
        self.path = reply.path
        self._reply, self._audit, self._write, self._admitted = reply, audit, write, admitted

    def answer(self, answer: Answer) -> None:
        self._note(answer.status)
        self._reply.answer(answer)

    def fail(self, error: BaseException) -> None:
        self._note(500)
        self._reply.fail(error)

    def _note(self, status: int) -> None:
        action = Action.DELETE if self._write.value is None else Action.WRITE
        principal, caller = self._admitted
        self._audit.written(principal, action, shown(self._write.key), caller.address, status)


class KeyRead(PendingRead):
    """A GET of a key, or a HEAD."""

    reply: Reply
    options: Options
    bodiless: bool = False
    status: int = 200
    lines: bytes = b""

    def choose(self, entry: Entry, epoch: int) -> Part | None:
        """Answer 304, or a HEAD; else return the part of the value to answer with. Raises Problem: 412, 416."""
        origin, sequence, size = entry.origin, entry.sequence, entry.size
        content_type, revision = entry.content_type.encode("latin-1"), self.store.revision
        options, part = self.options, (0, size)
        if options is requests.PLAIN and revision and not self.bodiless:  # in one go: it is the way of most reads
            self.lines = _PLAIN_LINES % (content_type, origin, sequence, epoch, revision, size)
            return part
        lines = _VALUE_LINES % (origin, sequence, epoch, revision_line(revision))
        status = 200
        if options is not requests.PLAIN:
            version = entry.version
            if options.if_match is not None and not Write(self.key, None, if_match=options.if_match).holds(version):
                raise Problem(412, f"the version is {version}", {"etag": f'"{version}"', "hanas-epoch": str(epoch)})
            unchanged = options.if_none_match
            if unchanged is not None and (ANY in unchanged or str(version) in unchanged):
                self.reply.answer(Answer(304, lines))
                return None
            if options.part is not None and options.if_range in {None, b'"%d-%d"' % version}:
                selection = requests.range_of(options.part, size)
                if selection is not None:
                    status, part = 206, selection
                    lines += b"content-range: bytes %d-%d/%d\r\n" % (part[0], part[1] - 1, size)
        length = part[1] - part[0]
        lines = b"content-type: %b\r\n%bcontent-length: %d\r\n" % (content_type, lines, length)
        if self.bodiless:
            self.reply.answer(Answer(status, lines))
            return None
        self.status, self.lines = status, lines
        return part

    def done(self, value: bytes) -> None:
        """Answer 200 or 206."""
        self.reply.answer(Answer(self.status, self.lines, value))

    def fail(self, error: Exception) -> None:
        """Answer with a problem."""
        fail(self.reply, error, self.store)


class PastRead(KeyRead, kw_only=True):
    """The same, as of a revision."""

    revision: int  # type: ignore[misc]  # a read of the present has no such field


class KeyWrite(PendingWrite):
    """A PUT or a DELETE of a key."""

    reply: Reply

    def done(self, outcome: Outcome, epoch: int) -> None:
        """Answer 201 or 204."""
        result, version, revision = outcome.result, outcome.version, outcome.revision
        if result is _REPLACED and revision and version is not None:  # in one go: it is the way of most writes
            lines = b'etag: "%d-%d"\r\nhanas-epoch: %d\r\nhanas-revision: %d\r\n' % (*version, epoch, revision)
            self.reply.answer(Answer(204, lines))
            return
        line = revision_line(revision)  # none of a forwarded write that its log alone remembers
        if version is None or result is _DELETED:
            answer = Answer(204, b"hanas-epoch: %d\r\n%b" % (epoch, line))
        elif result is _REPLACED:
            answer = Answer(204, b'etag: "%d-%d"\r\nhanas-epoch: %d\r\n%b' % (*version, epoch, line))
        else:
            lines = b'etag: "%d-%d"\r\nhanas-epoch: %d\r\n%bcontent-length: 0\r\n'
            answer = Answer(201, lines % (*version, epoch, line))
        self.reply.answer(answer)

    def fail(self, error: Exception) -> None:
        """Answer with a problem."""
        fail(self.reply, error, self.store)
