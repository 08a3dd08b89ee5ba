"""The operator at work: the connection, the queue, the followers, the watches and the endpoint."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import kopf

from hanas_operator import connection, handlers, health
from hanas_operator.api import Api
from hanas_operator.followers import Followers
from hanas_operator.metrics import Metrics
from hanas_operator.queue import Queue
from hanas_operator.reach import Direct, Proxied, Reach
from hanas_operator.reconcile import Reconciler
from hanas_operator.settings import Settings
from hanas_serving.server import Endpoint, bind
from hanas_serving.settings import SettingError

_log = logging.getLogger("hanas_operator")


async def operate(settings: Settings, stopping: asyncio.Event) -> None:
    """Work until ``stopping`` is set. Raises SettingError."""
    async with connection.connect(settings) as client:
        api = Api(client)
        await connection.check(api, settings)
        queue, metrics = Queue(), Metrics()
        async with _way(settings, api) as way:
            followers = Followers(api, way, metrics, queue.add)
            endpoint = _endpoint(settings.port, queue, metrics)
            working = asyncio.create_task(queue.run(Reconciler(api, followers, metrics, settings.image)))

            async def stop() -> None:
                stopping.set()  # kopf waits for this too, if it was a signal that stopped it
                working.cancel()
                followers.close()
                if endpoint is not None:
                    await endpoint.stop()

            _log.info("working in %s of %s", _places(settings), client.configuration.host)
            handlers.quieten()
            try:
                await kopf.operator(
                    registry=handlers.registry(queue, client.configuration, stop),
                    settings=handlers.settings(),
                    standalone=True,
                    clusterwide=not settings.namespaces,
                    namespaces=settings.namespaces,
                    stop_flag=stopping,
                )
            except Exception as error:  # a watch that cannot go on; kopf has tried for a while
                raise SettingError(f"the API server cannot be watched: {error}") from error


def _places(settings: Settings) -> str:
    return f"the namespace {', '.join(settings.namespaces)}" if settings.namespaces else "all namespaces"


@asynccontextmanager
async def _way(settings: Settings, api: Api) -> AsyncIterator[Reach]:
    proxied = not connection.is_inside(settings) if settings.proxied is None else settings.proxied
    if proxied:
        yield Proxied(api)
        return
    async with aiohttp.ClientSession() as session:
        yield Direct(session)


def _endpoint(port: int, queue: Queue, metrics: Metrics) -> Endpoint | None:
    if not port:
        return None
    endpoint = Endpoint(health.application(queue, metrics), bind(port, "--port"))
    endpoint.start()
    return endpoint
