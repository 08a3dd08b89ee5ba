"""The JSON documents of the overseer, beside those of hanas_core.members.documents."""

from typing import Any

import msgspec

from hanas_core.members.documents import Alert, Link, MainInfo
from hanas_core.members.verdicts import Verdict


class Document(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The common configuration of all documents."""


class HighestEpoch(Document, frozen=True, kw_only=True):
    """``GET /v1/main``, and the answer to a takeover: the highest epoch, 0 before the first, and its main.

    ``GET /v1/main`` names no main that this overseer has not heard: who follows it might end in another cluster.
    """

    epoch: int
    main: MainInfo | None


class MemberEntry(Document, frozen=True, kw_only=True):
    """One registered member."""

    member: str
    incarnation: str = ""
    slot: int
    advertise_url: str
    link_url: str
    role: str
    """``main``, ``elect``, ``backup``, ``joining`` (registered, not yet ready) or ``left`` (stopped in order)."""
    alive: bool | None
    """None: this overseer has not looked for long enough to tell."""
    heard: bool = False
    """Its counter increased, or it reported, since this overseer started, and lately: it lives on this very folder."""
    seen_seconds_ago: float | None
    """Seconds since its presence counter increased, as far as this overseer has seen; None: it was never present."""
    epoch: int = 0
    verdict: Verdict = Verdict.UNKNOWN
    """Its conclusion about the main; ``Unknown`` when it is not alive."""
    applied: str = ""
    """The position up to which it has applied the log: epoch/segment/offset."""
    lag_bytes: int = 0
    """Committed bytes that it has not applied."""
    keys: int = 0


class EpochEntry(Document, frozen=True, kw_only=True):
    """One epoch: the member that claimed it, its predecessor and the reason."""

    epoch: int
    member: str
    incarnation: str
    follows: int
    """The epoch before it; 0 for the first."""
    previous_main: str | None
    why: str
    """``first``, ``failure``, ``hand-over``, ``compaction``, or the word of a later version."""
    verdict: str | None
    words: str
    """The reason in one sentence, for people."""
    evidence: Any
    """The observations of the detector, as the claim holds them: any JSON."""
    claimed_at: str
    """Time of the claim by the wall clock of its writer, ISO 8601: for people."""
    served: bool
    """It has a manifest, so its main has begun to serve."""
    seconds: dict[str, float] | None
    """Duration of each step of the takeover; None: it has not served, or its manifest was removed."""
    durations: "EpochDurations | None" = None
    """Duration from the last keep-alive of the old main on; None where a part is unknown."""


class EpochDurations(Document, frozen=True, kw_only=True):
    """The parts of a takeover, in seconds on the clock of the new main."""

    detection: float
    """From the last keep-alive to the conclusion that the main failed."""
    claim: float
    """From there until the epoch was claimed and space for its log was allocated."""
    replay: float
    """Sealing the old epoch, reading the rest of its log and writing again what may not have been committed."""
    total: float
    """The sum. The manifest's pointer and one seal check, two small synced calls, follow and are not part of it."""


class ClusterDocument(Document, frozen=True, kw_only=True):
    """``GET /v1/cluster``: the whole state in one document."""

    folder_id: str
    epoch: int
    main: MainInfo | None
    members: tuple[MemberEntry, ...]
    links: tuple[Link, ...]
    takeovers: tuple[EpochEntry, ...]
    """The newest 100 epochs, newest last; all of them are at ``GET /v1/epochs``."""
    alerts: tuple[Alert, ...]


class PoolDocument(Document, frozen=True, kw_only=True):
    """``GET /v1/pool``: the registered members."""

    members: tuple[MemberEntry, ...]


class EpochsDocument(Document, frozen=True, kw_only=True):
    """``GET /v1/epochs``: all epochs, newest last."""

    epochs: tuple[EpochEntry, ...]


class TakeoversDocument(Document, frozen=True, kw_only=True):
    """``GET /v1/takeovers``: the entries of ``GET /v1/epochs`` under the older name."""

    takeovers: tuple[EpochEntry, ...]


class AlertsDocument(Document, frozen=True, kw_only=True):
    """``GET /v1/alerts``: the open alerts, the most severe first."""

    alerts: tuple[Alert, ...]
