"""A call as the services see it, whether it came by gRPC or by JSON."""

import logging
from collections.abc import Callable
from typing import Protocol, TypeVar

from hanas_serving.gate import Caller
from hanas_serving.grpc.status import RpcError
from hanas_worker.faces.etcd import errors
from hanas_worker.faces.etcd.revisions import Done, Refusal

_log = logging.getLogger("hanas.worker")

R = TypeVar("R")


class Call(Protocol):
    """A call with one answer."""

    done: bool
    """Nobody waits for an answer any more."""

    @property
    def caller(self) -> Caller:
        """Who asks."""

    def reply(self, message: bytes) -> None:
        """Answer with an encoded message."""

    def reply_in_parts(self, parts: list[bytes]) -> None:
        """Answer with an encoded message in parts."""

    def fail_with(self, error: RpcError) -> None:
        """Answer with an error."""


class Channel(Protocol):
    """A call with messages both ways."""

    done: bool
    """Nobody takes messages any more."""

    @property
    def caller(self) -> Caller:
        """Who asks."""

    @property
    def congested(self) -> bool:
        """Whether nothing more should be sent before the session's `drained` is called."""

    @property
    def share(self) -> int:
        """What should be sent at once, if this is not congested; bytes."""

    def send(self, message: bytes) -> None:
        """Send an encoded message."""

    def finish(self) -> None:
        """End the call without an error."""

    def fail_with(self, error: RpcError) -> None:
        """End the call with an error."""


def answering(call: Call, go_on: Callable[[R], None]) -> Done[R]:
    """Return what a result of the store is given to: a refusal is answered, and ``go_on`` answers all else.

    It raises nothing: who calls it has others to call.
    """

    def done(result: R | Refusal) -> None:
        if isinstance(result, Refusal):
            call.fail_with(errors.of(result))
        else:
            guarded(call, lambda: go_on(result))()

    return done


def guarded(call: Call, step: Callable[[], None]) -> Callable[[], None]:
    """Return ``step``, whose errors are answered."""

    def run() -> None:
        try:
            step()
        except Exception as error:
            _log.error("an error of this program", exc_info=error)
            call.fail_with(errors.FAILED)

    return run
