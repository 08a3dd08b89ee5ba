"""The port of etcd's API: each worker is an endpoint.

A worker that serves (`HANAS_BACKUPS`) answers there itself, the main or not: its connections go on whoever is the main,
and what only the main can do it has done there. One that redirects the clients of its HTTP API carries these
connections to the main. Then one that comes while there is no main waits for it; one to a former main is closed, and
its client, who comes again at once, goes on where it was.
"""

import asyncio
import socket
from typing import Any
from urllib.parse import urlsplit

import msgspec
import xxhash
from starlette.types import ASGIApp

from hanas_core.members.documents import LOG
from hanas_core.upkeep.compaction import space_of
from hanas_serving.admission import Admission
from hanas_serving.credentials import Credentials
from hanas_serving.gate import Gate
from hanas_serving.http2.dual import DualEndpoint
from hanas_serving.relaying import Here, Place, Relays, Target
from hanas_serving.tls import Tls
from hanas_worker.faces.etcd.adapter import StoreAdapter
from hanas_worker.faces.etcd.face import Face
from hanas_worker.faces.etcd.facts import Facts, Member
from hanas_worker.faces.etcd.rights import Rights
from hanas_worker.log.driver import LogDriver
from hanas_worker.node import Node
from hanas_worker.store import Store

_SHARE = 4
"""One connection for so many of the client port."""
_MOST_ID = (1 << 64) - 1
_DEFAULT_PORTS = {"http": 80, "https": 443}


class EtcdPort:
    """The face of a worker on its port."""

    def __init__(
        self,
        node: Node,
        store: Store,
        bound: socket.socket,
        credentials: Credentials,
        gate: Gate,
        tls: Tls,
        metrics: ASGIApp,
    ) -> None:
        """Prepare to serve ``store``, that of ``node``, on ``bound``; ``metrics`` answers ``/metrics``."""
        self._node, self._driver, self._store = node, node.logs[LOG], store
        self._adapter = StoreAdapter(store, self._size)
        settings = node.host.settings
        facts = Facts(
            store=self._adapter,
            cluster=id_of(node.host.folder_id),
            member=id_of(settings.member),
            members=self._members,
            leader=self._leader,
            rights=Rights(credentials.callers, gate),
        )
        limits = node.host.admissions["clients"].limits
        few = msgspec.structs.replace(limits, connections=limits.connections // _SHARE)
        admission = node.host.admissions["etcd"] = Admission[Any](few)
        face = Face(facts, gate, metrics=metrics)
        self.relays = node.host.relays = Relays(self._target, few.connections)
        node.host.etcd_calls = face.counts
        self._endpoint = DualEndpoint(
            face.dispatch,
            face.gateway,
            bound,
            admission=admission,
            memory=store.memory,
            refusals=gate.refusals,
            tls=tls.dual,
        )
        self._endpoint.entrance = self.relays.accept
        self._interval = settings.timing.keepalive_interval / 2
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to take connections."""
        await self._endpoint.start()
        self._looking = asyncio.create_task(self._look_for_ever())

    async def stop(self) -> None:
        """End what is answered, as every endpoint does, and what is carried."""
        if self._looking is not None:
            self._looking.cancel()
        self.relays.close()
        await self._endpoint.stop()

    async def _look_for_ever(self) -> None:
        while True:
            if self.relays.look():
                self._endpoint.abort()
            await asyncio.sleep(self._interval)

    def _target(self) -> Target:
        """Return who can answer: this worker, or the main."""
        driver, host = self._driver, self._node.host
        if self._store.numbered and (driver.serving is not None or not self._store.redirects):
            return Here.HERE
        if driver.serving is not None:
            return None  # for as long as a member of an older version lives
        claim = driver.state.member.claim
        if driver.main_url is None or claim is None:
            return None
        shown = host.peers.presence.get(claim.member)
        if shown is None or not shown.etcd_url or shown.etcd_url == host.settings.etcd_url:
            return None
        return place_of(shown.etcd_url)

    def _size(self) -> int:
        """Return what the log takes, bytes; never 0, by which etcdctl divides."""
        cuts, full = self._driver.state.cuts, self._node.host.settings.segment_bytes
        return sum(space_of(cut, full) for cut in cuts[:-1]) + max((1, *(cut.end for cut in cuts[-1:])))

    def _members(self) -> list[Member]:
        host = self._node.host
        urls = {other.member: other.etcd_url for other in host.others() if other.etcd_url}
        urls[host.settings.member] = host.settings.etcd_url
        return [Member(id_of(member), member, (url,)) for member, url in sorted(urls.items())]

    def _leader(self) -> int:
        return leader_of(self._driver)


def leader_of(driver: LogDriver) -> int:
    """Return the id of the main; 0 while there is none."""
    claim = driver.state.member.claim
    known = driver.serving is not None or driver.main_url is not None
    return id_of(claim.member) if known and claim is not None else 0


def id_of(name: str) -> int:
    """Return the number by which this face knows a folder or a member; never 0."""
    return xxhash.xxh3_64_intdigest(name.encode()) % _MOST_ID + 1


def place_of(url: str) -> Place:
    """Return where the face of another worker listens."""
    parts = urlsplit(url)
    return Place(parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme])
