"""Whom a main may hand over to on request (docs/protocol.md, section 2.6).

Nothing rests on it but the time without a main.
"""

from collections.abc import Sequence

from hanas_core.log.manifests import Cut
from hanas_core.members.roles import Role
from hanas_core.members.verdicts import Verdict
from hanas_core.volume.folder import BLOCK_BYTES
from hanas_worker.host.host import Host

MOST_BEHIND_BYTES = 16 << 20
"""A backup that has more of the log to apply would keep clients waiting."""
_HEARS = frozenset({Verdict.HEALTHY, Verdict.FOLDER_FULL})
"""The verdicts of a backup that hears the main."""


class NotSwitched(Exception):
    """The main did not hand over on request. The message says why, and what to do."""


class NotMain(NotSwitched):
    """This worker is not the main."""


class UnknownMember(NotSwitched):
    """There is no such member."""


class NotReady(NotSwitched):
    """That member cannot take over at once."""


class TryAgain(NotSwitched):
    """Not in this moment."""


def choose(host: Host, log: int, name: str, cuts: Sequence[Cut]) -> str:
    """Return the incarnation of the backup ``name``. ``cuts``: the main's log. Raises UnknownMember, NotReady."""
    if name == host.settings.member:
        raise NotReady(f"{name} is the main already; nothing was done")
    block = host.peers.presence.get(name)
    if block is None:
        raise UnknownMember(f"there is no member {name[:80]!r}; nothing was done; `hanas status` lists them")
    if block not in host.others():
        raise NotReady(f"{name} does not run, or left; nothing was done; start it, and wait until it is a backup")
    shown = block.of(log)
    if shown.role is not Role.BACKUP or shown.verdict not in _HEARS:
        raise NotReady(
            f"{name} is not ready: it is {shown.role} with the verdict {shown.verdict}; nothing was done; try again "
            "when `hanas status` has shown it as a backup that is Healthy for some seconds"
        )
    behind = behind_bytes(shown.applied, cuts)
    if behind > MOST_BEHIND_BYTES:
        raise NotReady(
            f"{name} is far behind: it has yet to apply {behind} bytes of the log, {MOST_BEHIND_BYTES} would do; "
            "nothing was done; try again when it has caught up"
        )
    return block.incarnation


def behind_bytes(applied: str, cuts: Sequence[Cut]) -> int:
    """Return how much of the log lies behind a position, as members show theirs; all of it if that is not in it."""
    epoch, number, offset = (applied.split("/") + 3 * [""])[:3]
    behind = 0
    for cut in reversed(cuts):
        if (str(cut.epoch), str(cut.number)) == (epoch, number) and offset.isdecimal():
            return behind + max(0, cut.end - int(offset))
        behind += cut.end - BLOCK_BYTES
    return behind
