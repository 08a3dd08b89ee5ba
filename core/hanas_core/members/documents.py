"""What members show of themselves, and what is shown of the cluster: the shapes of the JSON documents."""

import msgspec

from hanas_core.members.roles import LinkState, MainState, Role
from hanas_core.members.verdicts import Severity, Verdict
from hanas_core.members.witness import Witness

LEFT = "left"
"""The role that is shown of a member that was stopped in order."""
LOG = 0
"""The id of the log; there is one."""


class Alert(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Something that a person should know."""

    id: str
    """The same for as long as the alert is open."""
    severity: Severity
    kind: Verdict
    member: str
    """Who says it."""
    about: str
    """Whom it is about."""
    message: str
    advice: str
    since: str
    """Wall clock of the member, ISO 8601: for people."""


class Link(msgspec.Struct, frozen=True, rename="camel"):
    """The way of keep-alives from one member to another."""

    origin: str = msgspec.field(name="from")
    to: str = ""
    state: LinkState = LinkState.UNKNOWN
    since_seconds: float = 0.0


class Inquiry(msgspec.Struct, frozen=True, rename="camel"):
    """A member that joined asks the others to find the word that it left in a new file."""

    name: str
    nonce: str


class Echo(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The answer to the inquiry of ``to`` with this nonce: the word that was found, or what failed."""

    to: str
    nonce: str
    word: str = ""
    trouble: str = ""


class LogPresence(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """How a member is in one log."""

    log: int = LOG
    role: Role = Role.JOINING
    epoch: int = 0
    verdict: Verdict = Verdict.UNKNOWN
    applied: str = ""
    lag_bytes: int = 0
    keys: int = 0
    links: tuple[Link, ...] = ()
    witness: Witness = Witness()


class Presence(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A member's block in the mailbox ``presence``: that it lives (the counter moves) and how it is."""

    member: str
    incarnation: str
    counter: int
    advertise_url: str
    link_url: str
    logs: tuple[LogPresence, ...]
    left: bool = False
    """It was stopped in order and is not missed."""
    isolated: bool = False
    alerts: tuple[Alert, ...] = ()
    inquiry: Inquiry | None = None
    echoes: tuple[Echo, ...] | None = None
    """None: a program of another version, which does not answer inquiries."""
    run: int = 1
    """One more than that of the block which this incarnation found in its slot: of two that live, the younger has the
    higher one."""
    link_key: str = ""
    """Whoever sends to this incarnation over the link proves with it that it can read the folder. No document, log or
    metric may show it."""

    sessions: bool = False
    """It can read a log with sessions of forwarders; False: a program of another version."""

    formats: tuple[int, ...] = (2,)
    """Of the folder, which its program reads and writes."""

    etcd_url: str = ""
    """Where it speaks etcd's API; empty: nowhere."""

    def of(self, log: int) -> LogPresence:
        """Return how the member is in ``log``: joining, where it shows nothing of it."""
        return next((shown for shown in self.logs if shown.log == log), LogPresence(log=log))


class Report(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Body of ``POST /v1/report``: what a worker tells an overseer over the network, in case the folder cannot."""

    member: str
    incarnation: str
    folder_id: str
    verdict: Verdict = Verdict.UNKNOWN
    alerts: tuple[Alert, ...] = ()


def fitting(presence: Presence, most_bytes: int) -> Presence:
    """Return ``presence`` with as many of its alerts, oldest first, as fit into ``most_bytes`` of JSON."""
    while presence.alerts and len(msgspec.json.encode(presence)) > most_bytes:
        presence = msgspec.structs.replace(presence, alerts=presence.alerts[:-1])
    return presence


class MainInfo(msgspec.Struct, frozen=True, rename="camel"):
    """The holder of the highest claim."""

    member: str
    incarnation: str
    advertise_url: str
    link_url: str
    epoch: int
    state: MainState = MainState.ELECT
