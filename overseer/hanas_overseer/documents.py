"""The JSON documents that the overseer answers with, beside those of hanas_core.members.documents."""

from typing import Any

import msgspec

from hanas_core.members.documents import Alert, Link, MainInfo
from hanas_core.members.verdicts import Verdict


class Document(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The common settings of every document."""


class HighestEpoch(Document, frozen=True, kw_only=True):
    """``GET /v1/main``, and what a takeover is answered with: the highest epoch, 0 before the first, and its main."""

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
    """``main``, ``elect``, ``backup`` or ``joining`` (registered, not known yet) or ``left`` (stopped in order)."""
    alive: bool
    seen_seconds_ago: float | None
    """Seconds since its presence moved, as far as this overseer has watched; None: it never showed itself."""
    epoch: int = 0
    verdict: Verdict = Verdict.UNKNOWN
    """What it concluded about the main; ``Unknown`` when it is not alive."""
    applied: str = ""
    lag_bytes: int = 0
    keys: int = 0


class EpochEntry(Document, frozen=True, kw_only=True):
    """One epoch: who claimed it, after whom and why."""

    epoch: int
    member: str
    incarnation: str
    follows: int
    previous_main: str | None
    why: str
    """``first``, ``failure``, ``hand-over``, or a word that a newer claim brought."""
    verdict: str | None
    words: str
    """The reason in one sentence, for people."""
    evidence: Any
    """What the detector saw, as the claim holds it."""
    claimed_at: str
    served: bool
    """It has a manifest, so its main went on to serve."""
    seconds: dict[str, float] | None
    """How long the steps of the takeover took; None: it has not served, or its manifest is gone."""
    durations: "EpochDurations | None" = None
    """The same from the old main's last sign of life on; None where one of its parts is not known."""


class EpochDurations(Document, frozen=True, kw_only=True):
    """Where the time of a takeover went, seconds on the new main's clock."""

    detection: float
    """From the last keep-alive to the conclusion that the main failed."""
    claim: float
    """From there until the epoch was won and space for its log was at hand."""
    replay: float
    """Sealing the old epoch, reading the rest of its log and writing what was not known to be committed."""
    total: float
    """The sum; the manifest's pointer and one seal check, two small synced calls, came after it."""


class ClusterDocument(Document, frozen=True, kw_only=True):
    """``GET /v1/cluster``: everything in one document."""

    folder_id: str
    epoch: int
    main: MainInfo | None
    members: tuple[MemberEntry, ...]
    links: tuple[Link, ...]
    takeovers: tuple[EpochEntry, ...]
    """The newest ones, newest last; all of them are at ``GET /v1/epochs``."""
    alerts: tuple[Alert, ...]


class PoolDocument(Document, frozen=True, kw_only=True):
    """``GET /v1/pool``."""

    members: tuple[MemberEntry, ...]


class EpochsDocument(Document, frozen=True, kw_only=True):
    """``GET /v1/epochs``: all epochs, newest last."""

    epochs: tuple[EpochEntry, ...]


class TakeoversDocument(Document, frozen=True, kw_only=True):
    """``GET /v1/takeovers``: the entries of ``GET /v1/epochs`` under the older name."""

    takeovers: tuple[EpochEntry, ...]


class AlertsDocument(Document, frozen=True, kw_only=True):
    """``GET /v1/alerts``: the open alerts."""

    alerts: tuple[Alert, ...]
