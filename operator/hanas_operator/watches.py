"""kopf's watches, in a thread and an event loop of their own: kopf ends everything else in its loop when it ends.

It ends when the API server breaks off a watch with an error; then it is begun anew, and the operator stays.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Sequence
from typing import Any

import kopf
from kubernetes.aio.client import Configuration

from hanas_operator import handlers, waits
from hanas_operator.queue import Key, Queue

_log = logging.getLogger(__name__)


async def watch(queue: Queue, configuration: Configuration, namespaces: Sequence[str], stopping: asyncio.Event) -> None:
    """Request a reconcile for each change, until ``stopping`` is set. ``namespaces``: none for all of them."""
    loop = asyncio.get_running_loop()

    def add(key: Key, after: float) -> None:
        loop.call_soon_threadsafe(queue.add, key, after)

    handlers.quieten()
    for wait in waits.API:
        if stopping.is_set():
            return
        stop = threading.Event()
        watching = asyncio.create_task(asyncio.to_thread(asyncio.run, _watch(add, configuration, namespaces, stop)))
        waiting = asyncio.create_task(stopping.wait())
        await asyncio.wait({watching, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        stop.set()
        (error,) = await asyncio.gather(watching, return_exceptions=True)
        if not stopping.is_set():
            _log.warning("the API server cannot be watched: %s; again in %.0f s", error, wait)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await stopping.wait()


async def _watch(
    add: handlers.Add, configuration: Configuration, namespaces: Sequence[str], stop: threading.Event
) -> None:
    asyncio.get_running_loop().set_exception_handler(_note)
    try:
        await kopf.operator(
            registry=handlers.registry(add, configuration),
            settings=handlers.settings(),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
            stop_flag=stop,
        )
    finally:
        stop.set()  # a thread of kopf's waits for it


def _note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Write a line about an error that no task of kopf's retrieved, in the place of a traceback."""
    _log.debug("%s: %s", context["message"], context.get("exception"))
