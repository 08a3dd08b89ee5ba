"""``GET /v1/status``: one worker as it sees itself and its main."""

import msgspec

from hanas_core.members.documents import LEFT, LOG, Alert, Link
from hanas_core.members.verdicts import Verdict
from hanas_core.volume.encryption import PLAIN
from hanas_serving.tls_state import TlsState
from hanas_worker.log.driver import LogDriver
from hanas_worker.log.state import LogState
from hanas_worker.node import Node
from hanas_worker.ops.etcd_figures import EtcdState
from hanas_worker.ops.memory import MemoryState


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


class Forwarding(msgspec.Struct, frozen=True, rename="camel"):
    """How a worker serves clients while another one is the main."""

    connected: bool
    """There is a line to a main."""
    waiting: int
    """Requests of clients that have no answer."""
    writes: int
    """Writes that came so far."""
    questions: int
    """Read indexes that were asked for."""


class HistoryState(msgspec.Struct, frozen=True, rename="camel"):
    """What is remembered of the past (docs/protocol.md, section 3.12)."""

    revision: int
    """Of the store, as answers tell it; 0: it has none yet."""
    compacted: int
    """The lowest revision that can be read."""
    changes: int
    """Versions and deletes behind it."""
    bytes: int
    """What they take in memory, about."""
    value_bytes: int
    """Values that only the past needs, on the volume."""
    cuts: int
    """How often the main has forgotten more than it is old, for want of memory or of room on the volume."""


class LeaseState(msgspec.Struct, frozen=True, rename="camel"):
    """Leases, as the log tells them."""

    granted: int
    keys: int
    """Keys that are attached to one."""
    expiries: int
    """How many leases expired while this worker was the main."""


class WatchState(msgspec.Struct, frozen=True, rename="camel"):
    """Those who watch keys at this worker."""

    open: int
    lost: int
    """Watches that ended because their changes were forgotten."""


class EncryptionUse(msgspec.Struct, frozen=True, rename="camel"):
    """How much of the log is encrypted with one key, or is not."""

    key: str
    """The key's id, ``plain``, or ``unknown`` for segments that were not looked at yet."""
    segments: int
    bytes: int
    at_hand: bool
    """This worker has the key."""
    current: bool
    """New segments are written so."""


class Connections(msgspec.Struct, frozen=True, rename="camel"):
    """The connections to one port."""

    port: str
    """``clients``, ``link`` or ``etcd``."""
    open: int
    limit: int
    refused: int
    """Clients that were answered 503, for want of room."""
    displaced: int
    """Connections that were closed to make room for others."""


class LogFacts(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """How one log is here."""

    role: str
    epoch: int
    main: str | None
    main_url: str | None
    verdict: Verdict
    verdict_for_seconds: float
    """How long a backup's verdict stands; 0 at the main."""
    links: tuple[Link, ...]
    committed: str
    """The position up to which this worker has applied the log: epoch/segment/offset."""
    lag_bytes: int
    revision: int
    """Sequence of the last write applied."""
    keys: int
    value_bytes: int
    stalled_for_seconds: float
    compaction: CompactionState
    history: HistoryState | None
    """None while the log is read for a takeover; leases, too."""
    leases: LeaseState | None
    watches: WatchState
    forwarding: Forwarding | None
    """None: clients are redirected."""
    encryption: tuple[EncryptionUse, ...]


class LogStatus(LogFacts, frozen=True, kw_only=True):
    """The facts of the log with this id."""

    log: int


class Status(LogFacts, frozen=True, rename="camel", kw_only=True):
    """The document. The facts at its top are those of the first log."""

    member: str
    incarnation: str
    slot: int
    alerts: tuple[Alert, ...]
    overseer_reachable: bool
    folder: FolderHealth
    connections: tuple[Connections, ...]
    memory: MemoryState
    etcd: EtcdState | None
    """None: etcd's API is not spoken here."""
    tls: TlsState
    notices: tuple[str, ...]
    """What anybody may do who reaches this worker from another machine, or stands on the way."""
    logs: tuple[LogStatus, ...]


def document(node: Node, memory: MemoryState, notices: tuple[str, ...] = ()) -> Status:
    """Return the status of ``node``. ``memory``: that of its clients; ``notices``: sentences for people."""
    host, presence = node.host, node.presence.content()
    logs = tuple(_log(driver, left=presence.left) for driver in node.logs)
    first = msgspec.structs.asdict(logs[LOG])
    del first["log"]
    return Status(
        member=presence.member,
        incarnation=presence.incarnation,
        slot=host.slot,
        alerts=presence.alerts,
        overseer_reachable=node.overseers.reachable,
        folder=FolderHealth(
            host.folder_id, node.folder_works, host.folder_trouble, [*host.hung_duties], node.folder_full
        ),
        connections=tuple(
            Connections(port, len(entry.connections), entry.limits.connections, entry.refused, entry.displaced)
            for port, entry in host.admissions.items()
        ),
        memory=memory,
        etcd=EtcdState.of(host),
        tls=TlsState.of(host.tls),
        notices=notices,
        logs=logs,
        **first,
    )


def _log(driver: LogDriver, *, left: bool) -> LogStatus:
    host, state, service, facts = driver.state.host, driver.state, driver.serving, driver.shown()
    member, standing, compactor = state.member, state.standing, driver.compactor
    return LogStatus(
        log=facts.log,
        role=LEFT if left else facts.role.value,
        epoch=facts.epoch,
        main=None if member.claim is None else member.claim.member,
        main_url=driver.main_url if service is None else host.settings.advertise_url,
        verdict=facts.verdict,
        verdict_for_seconds=0.0 if service is not None else round(host.awake - member.detector.verdict_since, 3),
        links=facts.links,
        committed=facts.applied,
        lag_bytes=facts.lag_bytes,
        revision=standing.sequence,
        keys=facts.keys,
        value_bytes=standing.value_bytes,
        stalled_for_seconds=0.0 if service is None else round(service.stalled_for, 3),
        compaction=CompactionState(compactor.running, compactor.runs, compactor.freed_bytes, *compactor.measure()),
        history=history_of(state),
        leases=leases_of(state),
        watches=WatchState(state.tally.watches, state.tally.watches_lost),
        forwarding=None if state.forwarder is None else Forwarding(*state.forwarder.figures),
        encryption=_encryption(driver),
    )


def history_of(state: LogState) -> HistoryState | None:
    """Return what is remembered of the past, None while that is not known."""
    index = state.index
    if index is None:
        return None
    past = index.keys.history
    figures = index.shown, index.compacted, len(past), past.bytes, index.keys.past_bytes
    return HistoryState(*figures, state.tally.cuts)


def leases_of(state: LogState) -> LeaseState | None:
    """Return what there is of leases, None while that is not known."""
    index = state.index
    if index is None:
        return None
    return LeaseState(len(index.leases), len(index.leases.attached), state.tally.expiries)


def _encryption(driver: LogDriver) -> tuple[EncryptionUse, ...]:
    keys = driver.state.host.folder.keys
    current = keys.current or PLAIN
    return tuple(
        EncryptionUse(use.key, use.segments, use.size, use.key == PLAIN or use.key in keys.ids, use.key == current)
        for use in driver.keyring.uses
    )
