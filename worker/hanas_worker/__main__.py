"""``hanas-worker``: one worker, from its environment to its end."""

import asyncio
import logging
import os
import sys
import time
from pathlib import Path

from hanas_core.members import cluster
from hanas_core.volume import fitness
from hanas_core.volume.errors import NoSpace, NotInitialised
from hanas_core.volume.fitness import Check, Examination, Unfit
from hanas_core.volume.posix import PosixFolder
from hanas_serving import folders, program
from hanas_serving.lanes import Lane
from hanas_serving.runtime import Outbound, Runtime
from hanas_serving.server import HttpEndpoint, bind
from hanas_serving.settings import FOLDER, SettingError
from hanas_worker.host import settings
from hanas_worker.host.duties import Duty
from hanas_worker.host.leftovers import clear_temporary
from hanas_worker.host.settings import WorkerSettings
from hanas_worker.neighbours.keepalives import Epochs, KeepAlive, LinkEndpoint
from hanas_worker.neighbours.lifeline import IDLE_SECONDS
from hanas_worker.neighbours.outbound import HttpOutbound
from hanas_worker.neighbours.overseers import Overseers, Rejected
from hanas_worker.node import Node
from hanas_worker.ops.app import WorkerApplication

log = logging.getLogger("hanas.worker")

_SWITCH_INTERVAL_SECONDS = 0.0005
"""How long the event loop may keep the interpreter from the thread that syncs the log; Python's own 5 ms is longer
than a commit takes."""


def main() -> int:
    """Run a worker; return the exit code."""
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
    return program.run("hanas-worker", _run)


async def _run(stopping: asyncio.Event) -> None:
    wanted = settings.read(os.environ)
    sockets = bind(wanted.port, "PORT"), bind(wanted.link_port, "LINK_PORT")
    runtime = Runtime()
    lane = Lane(Duty.START, runtime)
    if not wanted.folder_is_default:
        await lane.run(_open(wanted.folder), wanted.timing.folder_timeout)
    if not wanted.secrets:
        log.warning("HANAS_SECRET_FILE is not set: anyone who reaches the link port can send keep-alives")
    app = WorkerApplication(wanted)

    def hear(keepalive: KeepAlive) -> Epochs:
        return () if app.node is None else app.node.hear(keepalive)

    link = LinkEndpoint(wanted.secrets, lambda: None if app.node is None else app.node.host.folder_id, hear)
    endpoints = [
        HttpEndpoint(app, sockets[0], direct=app.direct),
        HttpEndpoint(link, sockets[1], idle_seconds=IDLE_SECONDS),
    ]
    for endpoint in endpoints:
        await endpoint.start()
    outbound = HttpOutbound(wanted.member, wanted.secrets)
    try:
        await _live(app, wanted, outbound, runtime, lane, stopping)
    except Rejected as refusal:
        raise SettingError(str(refusal)) from None
    except Unfit as failure:
        raise SettingError(
            f"{FOLDER}={wanted.folder}: the volume does not keep what HANas needs: {failure}; "
            "use one of those in docs/operations.md"
        ) from None
    finally:
        await outbound.close()
        await asyncio.gather(*(endpoint.stop() for endpoint in endpoints))


async def _open(place: Path) -> PosixFolder:
    return folders.open_folder(place)


async def _live(
    app: WorkerApplication,
    wanted: WorkerSettings,
    outbound: Outbound,
    runtime: Runtime,
    lane: Lane,
    stopping: asyncio.Event,
) -> None:
    opened = await _wait_for_folder(app, wanted, lane, stopping)
    if opened is None:
        return
    folder, folder_id = opened
    log.info("the folder %s has the id %s", wanted.folder, folder_id)
    overseers = Overseers(
        wanted.overseers,
        outbound,
        runtime,
        timeout=wanted.timing.overseer_timeout,
        folder_timeout=wanted.timing.folder_timeout,
    )
    node = Node(wanted, folder, folder_id, overseers, outbound, runtime)
    removed = await lane.run(
        clear_temporary(folder, wanted.member, node.host.incarnation), wanted.timing.folder_timeout
    )
    if removed:
        log.info("removed %d temporary files of earlier runs", removed)
    await _try_out(wanted, folder, node.host.incarnation, lane)
    app.join(node)
    await node.run(stopping)


async def _try_out(wanted: WorkerSettings, folder: PosixFolder, incarnation: str, lane: Lane) -> None:
    """Try whether the volume keeps what the protocol needs. Raises Unfit."""

    async def examine() -> list[Check]:
        name = fitness.temporary(wanted.member, incarnation)
        return await Examination(folder, PosixFolder(wanted.folder), name, time.monotonic).run()

    try:
        checks = await lane.run(examine(), wanted.timing.folder_timeout)
    except NoSpace:
        log.warning("the volume is full, so it could not be tried whether it is fit")
        return
    fitness.require(checks)
    log.info("the folder is fit: %d checks, %.3f s", len(checks), sum(check.seconds for check in checks))


async def _wait_for_folder(
    app: WorkerApplication, wanted: WorkerSettings, lane: Lane, stopping: asyncio.Event
) -> tuple[PosixFolder, str] | None:
    """Return the folder once an overseer has initialised it; None if this worker is stopped before."""
    said = ""
    while not stopping.is_set():
        try:
            if wanted.folder_is_default and not wanted.folder.is_dir():
                raise NotInitialised(f"there is no folder {wanted.folder} yet: an overseer makes it at its first start")
            folder = await lane.run(_open(wanted.folder), wanted.timing.folder_timeout)
            identity = await lane.run(cluster.identify(folder, wanted.folder_id), wanted.timing.folder_timeout)
            return folder, identity.folder_id
        except NotInitialised as error:
            app.waiting_for = f"waiting: {error}"
            if said != app.waiting_for:
                said = app.waiting_for
                log.warning("%s", said)
        try:
            async with asyncio.timeout(wanted.timing.watch_interval):
                await stopping.wait()
        except TimeoutError:
            continue
    return None


if __name__ == "__main__":
    sys.exit(main())
