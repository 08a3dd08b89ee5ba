"""``hanas-overseer``: opens the folder, serves until SIGTERM or SIGINT. Exit codes: 0 stopped, 1 could not start."""

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
from hanas_overseer import settings
from hanas_overseer.application import application
from hanas_overseer.calls import Calls
from hanas_overseer.decisions import Decisions
from hanas_overseer.metrics import Metrics
from hanas_overseer.observer import Observer
from hanas_overseer.settings import Settings
from hanas_overseer.watcher import Watcher
from hanas_serving import folders, program
from hanas_serving.lanes import Lane
from hanas_serving.server import HttpEndpoint, bind
from hanas_serving.settings import SettingError

_INITIALISE_SECONDS = 60.0
"""The most that opening the folder may take; making a new one writes some megabytes."""

_log = logging.getLogger("hanas_overseer")


async def open_folder(wanted: Settings) -> tuple[PosixFolder, Cluster]:
    """Return the folder and its identity; an empty folder is initialised unless an id is wanted.

    Raises SettingError, FolderError.
    """
    if wanted.make_folder:
        try:
            wanted.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise SettingError(f"{folders.VARIABLE}={wanted.folder}: cannot be made: {error.strerror}") from None
    folder = folders.open_folder(wanted.folder)
    try:
        return folder, await cluster.identify(folder, wanted.folder_id)
    except WrongFolder:
        if wanted.folder_id is not None:
            raise
    try:
        fitness.require(await Examination(folder, folder, fitness.hidden(), time.monotonic).run())
    except Unfit as failure:
        raise SettingError(
            f"{folders.VARIABLE}={wanted.folder}: the volume does not keep what HANas needs: {failure}; "
            "use one of those in docs/operations.md"
        ) from None
    identity = await cluster.initialise(folder)
    _log.warning(
        "%s was empty and is now the folder %s; set HANAS_FOLDER_ID=%s so that no other is ever taken for it",
        wanted.folder,
        identity.folder_id,
        identity.folder_id,
    )
    return folder, identity


async def serve(stopping: asyncio.Event) -> None:
    """Serve until ``stopping`` is set. Raises SettingError, FolderError."""
    wanted = settings.read(os.environ)
    bound = bind(wanted.port, "PORT")
    folder, identity = await Lane("start").run(open_folder(wanted), _INITIALISE_SECONDS)
    if not wanted.secrets:
        _log.warning("HANAS_SECRET_FILE is not set: whoever reaches port %d can claim and take over", wanted.port)
    if not wanted.client_tokens:
        _log.warning("HANAS_CLIENT_TOKEN_FILE is not set: whoever reaches port %d can read the state", wanted.port)
    watcher = Watcher(Observer(folder, identity.folder_id), identity.folder_id, wanted.timing)
    decisions = Decisions(folder, identity.folder_id, wanted.timing)
    calls = Calls(decisions, watcher, Metrics(watcher))
    endpoint = HttpEndpoint(application(calls, wanted.secrets, wanted.client_tokens), bound)
    watching = asyncio.create_task(watcher.run())
    await endpoint.start()
    _log.info("serving the folder %s (%s) on port %d", wanted.folder, identity.folder_id, wanted.port)
    await stopping.wait()
    watcher.board.close()
    await endpoint.stop()
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    _log.info("stopped")


def main() -> int:
    """Run the overseer and return its exit code."""
    return program.run("hanas-overseer", serve)


if __name__ == "__main__":
    sys.exit(main())
