"""Why the store does not carry out a request, in no protocol's words."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from hanas_core.log.positions import Version
from hanas_core.state.judge import Result

T = TypeVar("T")


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

    def __init__(self, trouble: str) -> None:
        super().__init__()
        self.trouble = trouble


OF_RESULTS: dict[Result, type[Refusal]] = {
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
PLAIN: dict[str, type[Refusal]] = {kind.__name__: kind for kind in (*OF_RESULTS.values(), Crowded)}
"""Those that tell nothing beside, by their names."""


async def awaited(begin: Callable[[Callable[[T | Exception], None]], None]) -> T:
    """Return what ``begin`` calls back with. Raises the refusal that it is, of the store or in a protocol's words."""
    waiter: asyncio.Future[T | Exception] = asyncio.get_running_loop().create_future()
    begin(lambda ended: None if waiter.done() else waiter.set_result(ended))
    ended = await waiter
    if isinstance(ended, Exception):
        raise ended
    return ended
