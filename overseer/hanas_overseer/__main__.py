"""``hanas-overseer``: open the folder and serve until SIGTERM or SIGINT. Exit codes: 0 stopped, 1 could not start."""

import asyncio
import logging
import os
import sys
import time
from contextlib import suppress

from hanas_core.members import cluster
from hanas_core.members.cluster import Cluster
from hanas_core.volume import fitness
from hanas_core.volume.errors import WrongFolder
from hanas_core.volume.fitness import Examination, Unfit
from hanas_core.volume.posix import PosixFolder
from hanas_overseer.application import application
from hanas_overseer.calls import Calls
from hanas_overseer.decisions import Decisions
from hanas_overseer.metrics import OverseerMetrics
from hanas_overseer.watcher import Watcher
from hanas_serving import folders, program, settings, tls_files
from hanas_serving.admission import Admission
from hanas_serving.audit import Audit
from hanas_serving.credentials import Credentials
from hanas_serving.exposure import Exposure
from hanas_serving.gate import Gate
from hanas_serving.hosts import of_this_machine
from hanas_serving.http1 import Connection
from hanas_serving.lanes import Lane
from hanas_serving.limits import Limits, descriptors
from hanas_serving.runtime import Runtime
from hanas_serving.server import HttpEndpoint, bind
from hanas_serving.settings import FOLDER, ComponentSettings, SettingError
from hanas_serving.tls import Tls
from hanas_serving.tls_state import TlsCollector

_DEFAULT_PORT = 4000
_INITIALISE_SECONDS = 60.0
"""Time limit for opening the folder; the initialisation of an empty one writes some megabytes."""

_log = logging.getLogger("hanas_overseer")


async def open_folder(values: ComponentSettings) -> tuple[PosixFolder, Cluster]:
    """Return the folder and its identity; an empty folder is initialised unless an id is required.

    Raises SettingError, FolderError.
    """
    if values.folder_is_default:
        try:
            values.folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise SettingError(f"{FOLDER}={values.folder}: cannot be created: {error.strerror}") from None
    folder = await folders.open_folder(values.folder)
    try:
        return folder, await cluster.identify(folder, values.folder_id)
    except WrongFolder:
        if values.folder_id is not None:
            raise
    try:
        fitness.require(await Examination(folder, folder, fitness.hidden(), time.monotonic).run())
    except Unfit as failure:
        raise SettingError(
            f"{FOLDER}={values.folder}: the volume does not provide what HANas needs: {failure}; "
            "use a volume that docs/operations.md lists"
        ) from None
    identity = await cluster.initialise(folder)
    _log.warning(
        "initialised the empty folder %s with the id %s; set HANAS_FOLDER_ID=%s to refuse every other folder",
        values.folder,
        identity.folder_id,
        identity.folder_id,
    )
    return folder, identity


async def serve(stopping: asyncio.Event) -> None:
    """Serve until ``stopping`` is set. Raises SettingError, FolderError."""
    values, secure = settings.read(os.environ, _DEFAULT_PORT), Tls(tls_files.read(os.environ))
    limits = Limits(connections=descriptors().connections(values.connections), idle_seconds=values.idle_seconds)
    bound, runtime = bind(values.port, "PORT", values.listen), Runtime()
    folder, identity = await Lane("start", runtime.thread).run(open_folder(values), _INITIALISE_SECONDS)
    files = secure.files
    gate = Gate(of_this_machine(values.hosts), Audit(f"overseer:{values.port}", values.audited))
    admission = Admission[Connection](limits)
    credentials = Credentials.of(os.environ, values, certified=files.certified)
    exposure = Exposure(values, files, credentials.callers)
    for notice in exposure.notices:
        _log.warning("%s", notice)
    watcher = Watcher(folder, identity.folder_id, values.timing, runtime, admission, credentials, secure)
    credentials.on_change = watcher.board.interrupt  # a stream was opened with a token that may count no more
    decisions = Decisions(folder, identity.folder_id, values.timing, runtime)
    collectors = gate.refusals, gate.audit, credentials, exposure, TlsCollector(secure)
    calls = Calls(decisions, watcher, OverseerMetrics(watcher, admission, *collectors))
    app = application(calls, credentials, gate, runtime)
    endpoint = HttpEndpoint(app, bound, admission=admission, refusals=gate.refusals, tls=secure.open)
    endpoint.belong_to(identity.folder_id, credentials.callers)
    works = watcher.run(), credentials.keep(runtime.thread), secure.keep(runtime.thread)
    tasks = [asyncio.create_task(work) for work in works]
    await endpoint.start()
    _log.info("serving the folder %s (%s) on port %d", values.folder, identity.folder_id, values.port)
    await stopping.wait()
    calls.leaving = True
    await asyncio.sleep(values.drain_seconds)
    watcher.board.close()
    await endpoint.stop()
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task
    _log.info("stopped")


def main() -> int:
    """Run the overseer and return its exit code."""
    code = program.run("hanas-overseer", serve)
    program.close_files()
    return code


if __name__ == "__main__":
    sys.exit(main())
