"""The JSON documents of the overseer and the workers, as far as the client uses them.

Decoding is lenient: unknown fields are ignored and most fields may be missing, so that a client goes on
working with a cluster that is newer than itself.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from hanas_client.errors import BadAnswer

D = TypeVar("D")


class Document(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The common settings of every document."""


class Main(Document, frozen=True):
    """The main of an epoch, and where clients reach it."""

    member: str
    advertise_url: str
    incarnation: str = ""
    link_url: str | None = None
    state: str = ""


class MainDocument(Document, frozen=True):
    """`GET /v1/main`."""

    epoch: int | None = None
    main: Main | None = None


class Member(Document, frozen=True):
    """One member of the pool as the overseer sees it. `lag_bytes` is the log not applied yet, in bytes."""

    member: str
    incarnation: str = ""
    slot: int | None = None
    advertise_url: str | None = None
    link_url: str | None = None
    role: str = ""
    alive: bool | None = None
    seen_seconds_ago: float | None = None
    epoch: int | None = None
    verdict: str | None = None
    applied: str | None = None
    lag_bytes: int | None = None


class Pool(Document, frozen=True):
    """`GET /v1/pool`."""

    members: list[Member] = []


class Link(Document, frozen=True):
    """The link from one member to another: `up`, `failed` or `unknown`."""

    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    state: str = "unknown"
    since_seconds: float | None = None


class Durations(Document, frozen=True):
    """Where the time of a takeover went, seconds: from the last sign of life of the old main on."""

    detection: float = 0.0
    claim: float = 0.0
    replay: float = 0.0
    total: float = 0.0


class Takeover(Document, frozen=True):
    """One epoch's claim: who, after whom, and why. `words` is the reason for people."""

    epoch: int
    member: str = ""
    incarnation: str = ""
    follows: int | None = None
    previous_main: str | None = None
    why: str = ""
    verdict: str | None = None
    words: str | None = None
    evidence: Any = None
    claimed_at: str | None = None
    durations: Durations | None = None


class Alert(Document, frozen=True):
    """One open alert. `advice` says what a person should do about it."""

    id: str = ""
    severity: str = ""
    kind: str = ""
    member: str | None = None
    about: str | None = None
    message: str = ""
    advice: str | None = None
    since: str | float | None = None


class Cluster(Document, frozen=True):
    """`GET /v1/cluster`: everything that the overseer knows, in one document."""

    folder_id: str | None = None
    epoch: int | None = None
    main: Main | None = None
    members: list[Member] = []
    links: list[Link] = []
    takeovers: list[Takeover] = []
    alerts: list[Alert] = []


class Takeovers(Document, frozen=True):
    """`GET /v1/takeovers`."""

    takeovers: list[Takeover] = []


class Alerts(Document, frozen=True):
    """`GET /v1/alerts`."""

    alerts: list[Alert] = []


class Entry(Document, frozen=True):
    """One key of a list: its version and the size of its value in bytes."""

    key: str
    version: str
    size: int


class Page(Document, frozen=True):
    """`GET /v1/kv`: some keys in order; `next` is the `after` of the next page, or null at the end."""

    keys: list[Entry] = []
    next: str | None = None


class Problem(Document, frozen=True):
    """An error body, `application/problem+json` (RFC 9457)."""

    type: str = "about:blank"
    title: str = ""
    status: int | None = None
    detail: str = ""


def decode(body: bytes, kind: type[D], where: str) -> D:
    """The document in `body`; `where` is named in the `BadAnswer` when it is none."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadAnswer(f"{where} did not answer as a HANas cluster does: {error}") from None
