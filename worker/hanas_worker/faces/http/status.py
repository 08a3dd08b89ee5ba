"""``GET /v1/status``: one worker as it sees itself and its main."""

import msgspec

from hanas_core.members.documents import Alert, Link
from hanas_core.members.verdicts import Verdict
from hanas_worker.node import Node


class FolderHealth(msgspec.Struct, frozen=True, rename="camel"):
    """Whether the communication folder works here."""

    id: str
    ok: bool
    trouble: str | None
    hung_duties: list[str]
    full: bool


class CompactionState(msgspec.Struct, frozen=True, rename="camel"):
    """The log's garbage and what was done about it; zeros for a worker that is not the main."""

    running: bool
    runs: int
    """How often this worker has compacted the log."""
    freed_bytes: int
    garbage_bytes: int
    space_bytes: int
    """What the sealed segments take, of which the garbage is a part."""


class Status(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The document."""

    member: str
    incarnation: str
    slot: int
    role: str
    epoch: int
    main: str | None
    main_url: str | None
    verdict: Verdict
    verdict_for_seconds: float
    """How long a backup's verdict stands; 0 at the main."""
    links: tuple[Link, ...]
    alerts: tuple[Alert, ...]
    committed: str
    """The position up to which this worker has applied the log: epoch/segment/offset."""
    lag_bytes: int
    revision: int
    """Sequence of the last write applied."""
    keys: int
    value_bytes: int
    stalled_for_seconds: float
    overseer_reachable: bool
    folder: FolderHealth
    compaction: CompactionState


def document(node: Node) -> Status:
    """Return the status of ``node``."""
    state, service, shown = node.state, node.serving, node.presence()
    member, index = state.member, state.replica.index
    return Status(
        member=shown.member,
        incarnation=shown.incarnation,
        slot=state.slot,
        role=shown.role,
        epoch=shown.epoch,
        main=None if member.claim is None else member.claim.member,
        main_url=state.settings.advertise_url if service is not None else node.main_url,
        verdict=shown.verdict,
        verdict_for_seconds=0.0 if service is not None else round(state.now - member.detector.verdict_since, 3),
        links=shown.links,
        alerts=shown.alerts,
        committed=shown.applied,
        lag_bytes=shown.lag_bytes,
        revision=index.sequence,
        keys=len(index),
        value_bytes=index.value_bytes,
        stalled_for_seconds=0.0 if service is None else round(service.stalled_for, 3),
        overseer_reachable=node.overseers.reachable,
        folder=FolderHealth(
            state.folder_id,
            not (state.folder_trouble or state.hung_lanes or member.blind),
            state.folder_trouble,
            state.hung_lanes,
            service is not None and service.full,
        ),
        compaction=CompactionState(
            node.compactor.running, node.compactor.runs, node.compactor.freed_bytes, *node.compactor.measure()
        ),
    )
