"""``hanas-worker``: one worker, from its environment to its end."""

import asyncio
import contextlib
import gc
import logging
import os
import sys
import time
from typing import Any

from hanas_core.members import cluster
from hanas_core.upkeep import keyuse
from hanas_core.volume import fitness
from hanas_core.volume.errors import FolderError, KeyMissing, NoSpace, NotInitialised
from hanas_core.volume.fitness import Check, Examination, Unfit
from hanas_core.volume.posix import PosixFolder
from hanas_serving import program
from hanas_serving.admission import Admission
from hanas_serving.audit import Audit
from hanas_serving.credentials import Credentials
from hanas_serving.folders import open_folder
from hanas_serving.gate import Gate
from hanas_serving.hosts import of_this_machine
from hanas_serving.lanes import Lane
from hanas_serving.limits import Limits, descriptors
from hanas_serving.runtime import Runtime
from hanas_serving.server import HttpEndpoint, bind
from hanas_serving.settings import FOLDER, SettingError
from hanas_serving.tls import Tls
from hanas_worker.host.duties import Duty
from hanas_worker.host.host import Host
from hanas_worker.host.keyfile import KeyFile
from hanas_worker.host.leftovers import clear_temporary
from hanas_worker.host.settings import WorkerSettings
from hanas_worker.host.settings import read as read_settings
from hanas_worker.neighbours.keepalives import LinkEndpoint
from hanas_worker.neighbours.lifeline import IDLE_SECONDS
from hanas_worker.neighbours.outbound import HttpOutbound
from hanas_worker.neighbours.overseers import Overseers, Rejected
from hanas_worker.neighbours.place import Twin
from hanas_worker.node import Node
from hanas_worker.ops.app import WorkerApplication
from hanas_worker.ops.etcd import EtcdPort

_log = logging.getLogger("hanas.worker")

_SWITCH_INTERVAL_SECONDS = 0.0005
"""How long the event loop may keep the interpreter from the thread that syncs the log; Python's own 5 ms is longer
than a commit takes."""

_LINK_SLOW_SECONDS = 5.0
"""How long a message of another worker may take to arrive: it is small."""


def main() -> int:
    """Run a worker; return the exit code."""
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
    gc.freeze()  # modules and classes stay: each full collection would hold the event loop for them as well
    code = program.run("hanas-worker", _run)
    program.close_files()
    return code


async def _run(stopping: asyncio.Event) -> None:
    settings, files = read_settings(os.environ), descriptors()
    key_file = KeyFile(os.environ)
    clients = Limits(connections=files.connections(settings.connections), idle_seconds=settings.idle_seconds)
    sockets = (
        bind(settings.port, "PORT", settings.listen),
        bind(settings.link_port, "LINK_PORT", settings.listen),
        None if settings.etcd_port is None else bind(settings.etcd_port, "HANAS_ETCD_PORT", settings.listen),
    )
    runtime = Runtime()
    lane = Lane(Duty.START, runtime.thread)
    if not settings.folder_is_default:
        await lane.run(open_folder(settings.folder), settings.timing.folder_timeout)
    tls = Tls(settings.tls)
    audit = Audit(settings.member, settings.audited)
    gate = Gate(of_this_machine(settings.hosts, settings.own_urls), audit)
    credentials = Credentials.of(os.environ, settings, certified=settings.tls.certified)
    app = WorkerApplication(settings, credentials, gate)
    for notice in app.exposure.notices:
        _log.warning("%s", notice)
    link = LinkEndpoint(credentials.callers, gate)
    links = Limits(connections=files.links, idle_seconds=IDLE_SECONDS, slow_seconds=_LINK_SLOW_SECONDS)
    admissions: dict[str, Admission[Any]] = {"clients": Admission(clients), "link": Admission(links)}
    client_port = HttpEndpoint(
        app,
        sockets[0],
        direct=app.direct,
        admission=admissions["clients"],
        memory=app.memory,
        refusals=gate.refusals,
        tls=tls.open,
    )
    link_port = HttpEndpoint(link, sockets[1], admission=admissions["link"], refusals=gate.refusals, tls=tls.strict)
    endpoints: list[HttpEndpoint | EtcdPort] = [client_port, link_port]
    for endpoint in endpoints:
        await endpoint.start()
    outbound = HttpOutbound(settings.member, credentials.secrets, tls.calling)
    keeping = [asyncio.create_task(each.keep(runtime.thread)) for each in (credentials, tls)]
    try:
        location = await _wait_for_folder(app, settings, lane, stopping)
        if location is not None:
            await _take_keys(*location, key_file, settings, lane)
            keeping.append(asyncio.create_task(key_file.keep(runtime.thread, location[0])))
            overseers = Overseers(settings.overseers, settings.timing, outbound, runtime)
            node = Node(settings, *location, overseers, outbound, runtime)
            node.host.admissions, node.host.credentials, node.host.tls = admissions, credentials, tls
            await node.places.wait_for_earlier_run()
            await _prepare(node.host)
            client_port.belong_to(node.host.folder_id, credentials.callers)
            store = app.join(node)
            if sockets[2] is not None:
                endpoints.append(EtcdPort(node, store, sockets[2], credentials, gate, tls, app))
                await endpoints[-1].start()
            link.join(node.host.folder_id, node.verifier, node.hear, node.visit)
            await node.run(stopping)
    except (Rejected, Twin) as refusal:
        raise SettingError(str(refusal)) from None
    except Unfit as failure:
        raise SettingError(
            f"{FOLDER}={settings.folder}: the volume does not keep what HANas needs: {failure}; "
            "use one of those in docs/operations.md"
        ) from None
    finally:
        for task in keeping:
            task.cancel()
        await outbound.close()
        await asyncio.gather(*(endpoint.stop() for endpoint in endpoints))


async def _wait_for_folder(
    app: WorkerApplication, settings: WorkerSettings, lane: Lane, stopping: asyncio.Event
) -> tuple[PosixFolder, str] | None:
    """Return the folder and its id once an overseer has initialised it; None if this worker is stopped before."""
    timing = settings.timing
    while not stopping.is_set():
        try:
            folder = await lane.run(_open(settings), timing.folder_timeout)
            identity = await lane.run(cluster.identify(folder, settings.folder_id), timing.folder_timeout)
            return folder, identity.folder_id
        except NotInitialised as error:
            reason = f"waiting: {error}"
            if app.waiting_for != reason:
                app.waiting_for = reason
                _log.warning("%s", reason)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timing.watch_interval):
                await stopping.wait()
    return None


async def _take_keys(
    folder: PosixFolder, folder_id: str, key_file: KeyFile, settings: WorkerSettings, lane: Lane
) -> None:
    """Read the folder with the keys of the log from now on."""
    _log.info("the folder %s has the id %s", settings.folder, folder_id)
    folder.keys = key_file.keys
    await _require_keys(folder, settings, lane)


async def _require_keys(folder: PosixFolder, settings: WorkerSettings, lane: Lane) -> None:
    """End this worker where it lacks a key of the log: it could neither serve nor take over."""
    try:
        await lane.run(keyuse.require(folder), settings.timing.folder_timeout)
    except KeyMissing as error:
        raise SettingError(str(error)) from None
    except FolderError as error:  # the log cannot be read just now, or never: that is the node's matter
        _log.warning("it is not known yet whether the keys of the whole log are at hand: %s", error)


async def _open(settings: WorkerSettings) -> PosixFolder:
    place = settings.folder
    if settings.folder_is_default and not place.is_dir():
        raise NotInitialised(f"there is no folder {place} yet: an overseer makes it at its first start")
    return await open_folder(place)


async def _prepare(host: Host) -> None:
    """Remove what earlier runs left, and try whether the volume keeps what the protocol needs. Raises Unfit."""
    member, incarnation = host.settings.member, host.incarnation
    removed = await host.in_lane(Duty.START, clear_temporary(host.folder, member, incarnation))
    if removed:
        _log.info("removed %d temporary files of earlier runs", removed)

    async def examine() -> list[Check]:
        name = fitness.temporary(member, incarnation)
        return await Examination(host.folder, PosixFolder(host.settings.folder), name, time.monotonic).run()

    try:
        checks = await host.in_lane(Duty.START, examine())
    except NoSpace:
        _log.warning("the volume is full, so it could not be tried whether it is fit")
        return
    fitness.require(checks)
    _log.info("the folder is fit: %d checks, %.3f s", len(checks), sum(check.seconds for check in checks))


if __name__ == "__main__":
    sys.exit(main())
