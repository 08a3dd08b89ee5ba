"""The JSON documents of the overseer and the workers, reduced to the fields that the client uses.

Decoding is lenient: unknown fields are ignored and most fields may be missing, so that a client works with a newer
cluster.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

from hanas_client.errors import BadAnswer

D = TypeVar("D")
_BUILDING = threading.Lock()
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


class LenientDocument(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The msgspec settings of every document."""


class Main(LenientDocument, frozen=True):
    """The main of an epoch, and its addresses."""

    member: str
    advertise_url: str
    incarnation: str = ""
    link_url: str | None = None
    state: str = ""


class Member(LenientDocument, frozen=True):
    """One member of the pool as the overseer sees it.

    `heard`: the overseer has heard it lately. `lag_bytes` is the size of the log that it has not applied.
    """

    member: str
    incarnation: str = ""
    slot: int | None = None
    advertise_url: str | None = None
    link_url: str | None = None
    role: str = ""
    alive: bool | None = None
    heard: bool = True
    seen_seconds_ago: float | None = None
    epoch: int | None = None
    verdict: str | None = None
    applied: str | None = None
    lag_bytes: int | None = None


class Link(LenientDocument, frozen=True):
    """The link from one member to another: `up`, `failed` or `unknown`."""

    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    state: str = "unknown"
    since_seconds: float | None = None


class Durations(LenientDocument, frozen=True):
    """The parts of the time of a takeover, from the last sign of life of the old main, seconds."""

    detection: float = 0.0
    claim: float = 0.0
    replay: float = 0.0
    total: float = 0.0


class Takeover(LenientDocument, frozen=True):
    """The claim of one epoch: the member, the previous main, and the reason. `words` is the reason for people."""

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


class Alert(LenientDocument, frozen=True):
    """One open alert. `advice` is the action that it needs."""

    id: str = ""
    severity: str = ""
    kind: str = ""
    member: str | None = None
    about: str | None = None
    message: str = ""
    advice: str | None = None
    since: str | float | None = None


class Cluster(LenientDocument, frozen=True):
    """`GET /v1/cluster`: the whole state that the overseer reports. Its other documents are parts of this one."""

    folder_id: str | None = None
    epoch: int | None = None
    main: Main | None = None
    members: list[Member] = []
    links: list[Link] = []
    takeovers: list[Takeover] = []
    alerts: list[Alert] = []


class Entry(LenientDocument, frozen=True):
    """One key of a list: its version and the size of its value in bytes."""

    key: str
    version: str
    size: int


class Page(LenientDocument, frozen=True):
    """`GET /v1/kv`: some keys in order; `next` is the `after` of the next page, or null at the end.

    `revision`: the store's revision when they were read, from the header of the answer.
    """

    keys: list[Entry] = []
    next: str | None = None
    revision: int | None = None


class ProblemDocument(LenientDocument, frozen=True):
    """An error body, `application/problem+json` (RFC 9457)."""

    title: str = ""
    detail: str = ""
    compacted: int | None = None


def decoder_of(kind: type[D]) -> msgspec.json.Decoder[D]:
    """Return the decoder of a type, the same each time.

    msgspec works out a type when it is used first, and crashes the process if two threads do so at once.
    """
    decoder: msgspec.json.Decoder[D] | None = _decoders.get(kind)
    if decoder is None:
        with _BUILDING:
            decoder = _decoders.setdefault(kind, msgspec.json.Decoder(kind))
    return decoder


def decode(body: bytes, kind: type[D], where: str) -> D:
    """Return the document in `body`. Raises BadAnswer, which names `where`."""
    try:
        return decoder_of(kind).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(f"{where} did not answer as a HANas cluster does: {error}") from None
