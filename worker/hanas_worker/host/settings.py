"""Settings of a worker, from its environment (docs/operations.md has the table)."""

import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from hanas_core.members.member import IsolationPolicy
from hanas_core.state.queue import MOST_QUEUED_BYTES
from hanas_core.state.valuecache import DEFAULT_BYTES
from hanas_core.volume import names
from hanas_serving import machine, settings, tls_files
from hanas_serving.settings import Backups, ComponentSettings, SettingError
from hanas_serving.tls_files import TlsFiles

MIB = 1 << 20
_LEAST_MEMORY = 32 * MIB
_MOST_DEFAULT_MEMORY = 1024 * MIB
_VALUES_IN_MEMORY = 4
"""So many of the largest values fit into the memory for bodies and answers, at least."""
_LEAST_SEGMENT_FOR_ETCD = 4 * MIB
"""The largest transaction of etcd's API finds room in it, with what it deletes."""
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


class WorkerSettings(ComponentSettings, frozen=True, kw_only=True):
    """Everything that does not change while a worker runs."""

    link_port: int
    member: str
    advertise_url: str
    link_url: str
    overseers: tuple[str, ...]
    policy: IsolationPolicy
    value_bytes: int
    """Largest value, bytes."""
    segment_bytes: int
    """Size of a segment file, bytes."""
    cache_bytes: int
    """Values kept in memory, bytes."""
    memory_bytes: int
    """For bodies and answers under way, bytes."""
    snapshot_bytes: int
    """The main takes a snapshot of its index after this much log, bytes."""
    compact_share: float
    """The log is compacted when this share of its space is garbage, 0 to 1."""
    compact_bytes: int
    """... and at least this much, bytes."""
    history_seconds: float = 600.0
    """History reaches back so far ..."""
    history_bytes: int = 64 * MIB
    """... unless it takes more memory than this, about."""
    backups: Backups = Backups.REDIRECT
    patience_seconds: float = 10.0
    """How long a backup that serves looks for a main that can do what a client asks."""
    etcd_port: int | None = None
    """Where etcd's API is spoken; None: nowhere."""
    etcd_url: str = ""
    """... and how clients and the other workers reach it."""
    tls: TlsFiles = TlsFiles()
    """The certificate, and whom to trust."""

    @property
    def queue_bytes(self) -> int:
        """What of `memory_bytes` is for writes that wait for their commit, bytes."""
        return min(MOST_QUEUED_BYTES, self.memory_bytes // 4)


def read(environment: Mapping[str, str]) -> WorkerSettings:
    """Return the settings. Raises SettingError, which names the variable."""
    common = settings.read(environment, 3001)
    port = common.port
    link_port = settings.port(environment, "LINK_PORT", port + 1000)
    files = tls_files.read(environment)
    scheme = files.scheme
    overseers = settings.urls(environment, "OVERSEER_IP", f"{scheme}://localhost:4000", scheme)
    # All on one machine: a name that always resolves there. Otherwise the machine's own.
    local = all(urlsplit(url).hostname in _LOCAL for url in overseers)
    host = "localhost" if local else socket.gethostname()
    member = environment.get("WORKER_ID") or f"{socket.gethostname()}-{port}"
    if not names.is_member(member):
        raise SettingError(
            f"WORKER_ID={member}: must be 1 to 128 letters, digits, '.', '_' or '-', and begin with a letter or a digit"
        )
    value_bytes = settings.bytes_count(environment, "HANAS_VALUE_BYTES", 8 * MIB, 1, 64 * MIB)
    segment_bytes = settings.bytes_count(environment, "HANAS_SEGMENT_BYTES", 32 * MIB, 2 * MIB, 1024 * MIB)
    if segment_bytes % 4096 or segment_bytes < 2 * value_bytes:
        raise SettingError(
            f"HANAS_SEGMENT_BYTES={segment_bytes}: must be a multiple of 4096 and at least twice HANAS_VALUE_BYTES "
            f"({value_bytes})"
        )
    etcd_port = settings.port(environment, "HANAS_ETCD_PORT", 0) if environment.get("HANAS_ETCD_PORT") else None
    if etcd_port is not None and segment_bytes < _LEAST_SEGMENT_FOR_ETCD:
        raise SettingError(
            f"HANAS_SEGMENT_BYTES={segment_bytes}: must be at least {_LEAST_SEGMENT_FOR_ETCD} with HANAS_ETCD_PORT"
        )
    limit = machine.memory_limit()
    least = max(_LEAST_MEMORY, _VALUES_IN_MEMORY * value_bytes)
    memory_bytes = settings.bytes_count(
        environment, "HANAS_MEMORY", max(least, min(_MOST_DEFAULT_MEMORY, limit // 4)), least, 1 << 50
    )
    return WorkerSettings(
        **msgspec.structs.asdict(common),
        link_port=link_port,
        member=member,
        advertise_url=settings.url(environment, "ADVERTISE_URL", f"{scheme}://{host}:{port}"),
        link_url=settings.url(environment, "LINK_URL", f"{scheme}://{host}:{link_port}"),
        overseers=overseers,
        policy=IsolationPolicy(
            settings.choice(environment, "HANAS_ISOLATION_POLICY", tuple(policy.value for policy in IsolationPolicy))
        ),
        value_bytes=value_bytes,
        segment_bytes=segment_bytes,
        cache_bytes=settings.bytes_count(environment, "HANAS_CACHE_BYTES", min(DEFAULT_BYTES, limit // 4), 0, 1 << 50),
        memory_bytes=memory_bytes,
        snapshot_bytes=settings.bytes_count(environment, "HANAS_SNAPSHOT_BYTES", 64 * MIB, 64 << 10, 1 << 50),
        compact_share=settings.share(environment, "HANAS_COMPACT_SHARE", 0.5, 0.1, 0.95),
        compact_bytes=settings.bytes_count(environment, "HANAS_COMPACT_BYTES", 256 * MIB, MIB, 1 << 50),
        history_seconds=settings.seconds(environment, "HANAS_HISTORY_SECONDS", 600.0, 1.0, 31_622_400.0),
        history_bytes=settings.bytes_count(environment, "HANAS_HISTORY_BYTES", 64 * MIB, 64 << 10, 1 << 50),
        backups=Backups(settings.choice(environment, "HANAS_BACKUPS", tuple(each.value for each in Backups))),
        patience_seconds=settings.seconds(environment, "HANAS_PATIENCE", 10.0, 0.1, 3600),
        etcd_port=etcd_port,
        etcd_url=""
        if etcd_port is None
        else settings.url(environment, "HANAS_ETCD_URL", f"{scheme}://{host}:{etcd_port}"),
        tls=files,
    )
