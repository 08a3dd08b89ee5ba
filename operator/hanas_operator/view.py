"""The cluster as its overseer reports it (``GET /v1/cluster``), reduced to the fields that the operator uses.

Ages and positions change all the time and are left out, so equal views mean equal states.
"""

import msgspec
from msgspec import Struct

from hanas_core.members.documents import Alert, MainInfo
from hanas_core.members.roles import MainState
from hanas_core.members.verdicts import Verdict


class MemberView(Struct, frozen=True, rename="camel", kw_only=True):
    """One registered member."""

    member: str
    alive: bool | None = False
    """None: the overseer does not know yet."""
    verdict: str = Verdict.UNKNOWN


class LinkView(Struct, frozen=True, kw_only=True):
    """The link from the main to a backup, which carries keep-alives."""

    origin: str = msgspec.field(name="from")
    to: str
    state: str


class TakeoverView(Struct, frozen=True, rename="camel", kw_only=True):
    """One epoch."""

    epoch: int
    member: str
    why: str = ""
    words: str = ""


class ClusterView(Struct, frozen=True, rename="camel", kw_only=True):
    """The whole cluster."""

    folder_id: str = ""
    epoch: int = 0
    main: MainInfo | None = None
    members: tuple[MemberView, ...] = ()
    links: tuple[LinkView, ...] = ()
    takeovers: tuple[TakeoverView, ...] = ()
    alerts: tuple[Alert, ...] = ()

    @property
    def serving(self) -> str | None:
        """The member that serves as the main, None while there is none."""
        return self.main.member if self.main is not None and self.main.state is MainState.SERVING else None

    @property
    def confirmed(self) -> bool:
        """Whether an overseer names the main; else a worker calls itself that, and its addresses are unknown."""
        return self.main is not None and self.main.advertise_url != ""

    def member(self, name: str) -> MemberView | None:
        """Return a member, None if there is none of this name."""
        return next((member for member in self.members if member.member == name), None)

    def link(self, origin: str, to: str) -> str | None:
        """Return the state of a link, None if it is not reported."""
        return next((link.state for link in self.links if (link.origin, link.to) == (origin, to)), None)


def decode(document: bytes | str) -> ClusterView:
    """Return the view in a document. Raises msgspec.MsgspecError."""
    return msgspec.json.decode(document, type=ClusterView)


def same(one: ClusterView | None, other: ClusterView | None) -> bool:
    """Return whether two views are equal but for the messages of alerts, which count seconds."""
    return _without_messages(one) == _without_messages(other)


def _without_messages(view: ClusterView | None) -> ClusterView | None:
    if view is None:
        return None
    return msgspec.structs.replace(
        view, alerts=tuple(msgspec.structs.replace(alert, message="") for alert in view.alerts)
    )
