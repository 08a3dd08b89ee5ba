"""The cluster as its overseer tells it (``GET /v1/cluster``), reduced to what the operator goes by.

Ages and positions move all the time and are left out, so two views that are equal say the same.
"""

import msgspec
from msgspec import Struct

from hanas_core.members.documents import Alert, MainInfo
from hanas_core.members.roles import MainState

SERVING = MainState.SERVING
UP, FAILED = "up", "failed"


class MemberView(Struct, frozen=True, rename="camel", kw_only=True):
    """One registered member."""

    member: str
    role: str = ""
    alive: bool = False
    verdict: str = "Unknown"


class LinkView(Struct, frozen=True, kw_only=True):
    """The way of keep-alives from the main to a backup."""

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
        return self.main.member if self.main is not None and self.main.state == SERVING else None

    def member(self, name: str) -> MemberView | None:
        """Return what is told of a member."""
        return next((member for member in self.members if member.member == name), None)

    def link(self, origin: str, to: str) -> str | None:
        """Return the state of a link, None if nothing is told of it."""
        return next((link.state for link in self.links if (link.origin, link.to) == (origin, to)), None)


def decode(document: bytes | str) -> ClusterView:
    """Return what a document says. Raises msgspec.MsgspecError."""
    return msgspec.json.decode(document, type=ClusterView)


def same(one: ClusterView | None, other: ClusterView | None) -> bool:
    """Tell whether two views differ in nothing that matters; the words of an alert count the seconds."""
    return _settled(one) == _settled(other)


def _settled(view: ClusterView | None) -> ClusterView | None:
    if view is None:
        return None
    return msgspec.structs.replace(
        view, alerts=tuple(msgspec.structs.replace(alert, message="") for alert in view.alerts)
    )
