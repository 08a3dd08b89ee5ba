"""What only the main can carry out beside writes of a key, and how it ends: transactions, compactions, leases.

A worker that is not the main sends a call there for its clients (docs/protocol.md, sections 2.9 and 6.9).
"""

import struct

import msgspec

from hanas_core.state.entries import facts_in, unpack
from hanas_core.state.judge import Outcome
from hanas_core.state.reports import Row
from hanas_core.state.transactions import ReadKeys, Transact, Transaction
from hanas_core.volume.blocks import UNREADABLE
from hanas_worker import refusals
from hanas_worker.log.messages import decoded
from hanas_worker.log.transactor import Read, Transacted
from hanas_worker.refusals import Forgotten, Future, Refusal, Unknown, Unreadable


class _Call(msgspec.Struct, frozen=True, array_like=True):
    @property
    def repeatable(self) -> bool:
        """It may be carried out twice: nobody can tell that from once."""
        return True


class Transacting(_Call, frozen=True, array_like=True, tag="t"):
    """Carry out a transaction."""

    request: Transact

    @property
    def repeatable(self) -> bool:
        """The second time it is answered with what it did the first time, unless it only reads."""
        reads = all(isinstance(one, ReadKeys | Transaction) for one in self.request.transaction.operations())
        return reads or self.request.idempotency_key is not None


class Granting(_Call, frozen=True, array_like=True, tag="g"):
    """Begin a lease."""

    lease: int
    """0: with an id that nobody has chosen. If it is done twice, nobody knows of one of them, and it expires."""
    ttl: int

    @property
    def repeatable(self) -> bool:
        """The second time its id is taken."""
        return not self.lease


class Renewing(_Call, frozen=True, array_like=True, tag="k"):
    """Renew a lease."""

    lease: int


class Ending(_Call, frozen=True, array_like=True, tag="e"):
    """Revoke a lease."""

    lease: int

    @property
    def repeatable(self) -> bool:
        """The second time there is none."""
        return False


class Showing(_Call, frozen=True, array_like=True, tag="s"):
    """Tell of a lease."""

    lease: int


class Listing(_Call, frozen=True, array_like=True, tag="l"):
    """Tell the ids of all leases."""


class Compacting(_Call, frozen=True, array_like=True, tag="c"):
    """Forget what keys held before a revision."""

    revision: int

    @property
    def repeatable(self) -> bool:
        """The second time it is forgotten already."""
        return False


class Granted(msgspec.Struct, frozen=True, array_like=True, tag="g"):
    """A lease was granted."""

    lease: int
    epoch: int
    revision: int


class Renewed(msgspec.Struct, frozen=True, array_like=True, tag="k"):
    """A lease was renewed."""

    ttl: int
    epoch: int
    revision: int


class Ended(msgspec.Struct, frozen=True, array_like=True, tag="e"):
    """A lease was revoked."""

    epoch: int
    revision: int


class Shown(msgspec.Struct, frozen=True, array_like=True, tag="s"):
    """What there is to tell of a lease."""

    ttl: int
    left: float
    """Seconds until it expires."""
    keys: list[bytes]
    epoch: int
    revision: int


class Listed(msgspec.Struct, frozen=True, array_like=True, tag="l"):
    """The ids of all leases, those that end first in front."""

    leases: list[int]


class Compacted(msgspec.Struct, frozen=True, array_like=True, tag="c"):
    """It is forgotten."""

    revision: int
    """The present one."""


class _Transacted(msgspec.Struct, frozen=True, array_like=True, tag="t"):
    outcome: Outcome
    epoch: int
    reads: tuple[tuple[Row, bytes, bytes | None], ...]
    """Of each row the entry, packed, and the value."""


class _Refused(msgspec.Struct, frozen=True, array_like=True, tag="n"):
    kind: str
    epoch: int | None
    revision: int
    about: int | str | None
    """What the refusal tells beside."""


Call = Transacting | Compacting | Granting | Renewing | Ending | Showing | Listing
Answer = Transacted | Compacted | Granted | Renewed | Ended | Shown | Listed
_OnTheWay = _Transacted | Compacted | Granted | Renewed | Ended | Shown | Listed | _Refused
_encode = msgspec.msgpack.Encoder().encode
_call: msgspec.msgpack.Decoder[Call] = msgspec.msgpack.Decoder(Call)
_answer: msgspec.msgpack.Decoder[_OnTheWay] = msgspec.msgpack.Decoder(_OnTheWay)


def encode_call(call: Call) -> bytes:
    """Return the bytes of a call."""
    return _encode(call)


def decode_call(content: bytes) -> Call:
    """Return a call. Raises Improper."""
    return decoded(_call, content)


def encode_answer(answer: Answer | Refusal) -> bytes:
    """Return the bytes of an answer."""
    match answer:
        case Transacted(outcome=outcome, epoch=epoch, reads=reads):
            rows = tuple((row, read.entry.packed, read.value) for row, read in reads.items())
            return _encode(_Transacted(outcome, epoch, rows))
        case Refusal():
            about: int | str | None = None
            match answer:
                case Forgotten(compacted=number) | Future(present=number):
                    about = number
                case Unreadable(trouble=trouble):
                    about = trouble
                case _:
                    pass
            return _encode(_Refused(type(answer).__name__, answer.epoch, answer.revision, about))
        case _:
            return _encode(answer)


def decode_answer(content: bytes) -> Answer:
    """Return an answer. Raises the refusal that it is, or Unknown where it cannot be read."""
    try:
        answer = _answer.decode(content)
        if isinstance(answer, _Transacted):
            for _, packed, _ in answer.reads:
                facts_in(packed)  # an entry looks for them when they are asked for
            reads = {row: Read(unpack(packed), value) for row, packed, value in answer.reads}
            return Transacted(answer.outcome, answer.epoch, reads)
    except (*UNREADABLE, struct.error):
        raise Unknown from None
    if isinstance(answer, _Refused):
        raise _refusal(answer)
    return answer


def _refusal(refused: _Refused) -> Refusal:
    epoch, about = refused.epoch or 0, refused.about
    refusal: Refusal
    match refused.kind, about:
        case "Forgotten", int():
            refusal = Forgotten(epoch, about)
        case "Future", int():
            refusal = Future(epoch, about)
        case "Unreadable", str():
            refusal = Unreadable(about)
        case kind, None if kind in refusals.PLAIN:
            refusal = refusals.PLAIN[kind](refused.epoch)
        case _:  # of a main that knows others
            refusal = Unknown(refused.epoch)
    refusal.revision = refused.revision
    return refusal
