"""A planned switchover, which the annotation ``hanas.dev/switchover: worker-N`` asks for.

It is done once for each value: the status remembers it. The main's own answer decides whether the worker can take over.
"""

from collections.abc import Awaitable, Callable

import msgspec
from msgspec import UNSET, UnsetType

from hanas_operator import names
from hanas_operator.reach import Reply, Unreachable
from hanas_operator.status import SwitchoverState, SwitchoverStatus
from hanas_operator.view import ClusterView

PATH = "/v1/switchover"
_LATER = frozenset({307, 421, 429, 500, 502, 503, 504})
"""Answers of a worker that is not the main just now, or of a proxy: asking again may help."""
Ask = Callable[[str, str, bytes], Awaitable[Reply]]
"""Sends a body to a path of a member. Raises Unreachable."""


class _Problem(msgspec.Struct):
    """An error document, reduced to what matters here."""

    detail: str = ""


def wanted(annotations: dict[str, str]) -> str:
    """Return the member that shall be the main; empty: nobody asks for a switchover."""
    return annotations.get(names.SWITCHOVER, "")


async def attend(
    to: str, members: list[str], view: ClusterView | None, before: SwitchoverStatus | UnsetType, ask: Ask
) -> SwitchoverStatus | UnsetType:
    """Have ``to`` become the main, unless that was done or refused; return how far it is. ``members``: the workers."""
    if not to:
        return UNSET
    if isinstance(before, SwitchoverStatus) and before.to == to and before.state is not SwitchoverState.PENDING:
        return before
    if to not in members:
        words = f"there is no worker {to[:80]!r}: name one from {members[0]} to {members[-1]}" if members else ""
        return SwitchoverStatus(to=to[:80], state=SwitchoverState.REFUSED, message=words or "there are no workers")
    if view is None or view.serving is None:
        return SwitchoverStatus(to=to, state=SwitchoverState.PENDING, message="there is no main that could hand over")
    if view.serving == to:
        return SwitchoverStatus(to=to, state=SwitchoverState.DONE, message=f"{to} is the main of epoch {view.epoch}")
    state, words = await _asked(to, view.serving, ask)
    return SwitchoverStatus(to=to, state=state, message=words)


async def _asked(to: str, main: str, ask: Ask) -> tuple[SwitchoverState, str]:
    try:
        reply = await ask(main, PATH, msgspec.json.encode({"to": to}))
    except Unreachable as error:
        return SwitchoverState.PENDING, f"{main} could not be asked to hand over: {error}"
    if reply.status == 202:
        return SwitchoverState.PENDING, f"{main} has handed over, and {to} takes over"
    try:
        detail = msgspec.json.decode(reply.body, type=_Problem).detail
    except msgspec.MsgspecError:
        detail = ""
    words = detail or f"{main} answered {reply.status}"
    return (SwitchoverState.PENDING if reply.status in _LATER else SwitchoverState.REFUSED), words
