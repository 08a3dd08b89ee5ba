"""The running operator: the connection, the queue, the followers, the watches and the endpoint."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import kopf

from hanas_operator import connection, handlers, health
from hanas_operator.api import Api
from hanas_operator.followers import Followers
from hanas_operator.metrics import OperatorMetrics
from hanas_operator.queue import Queue
from hanas_operator.reach import DirectReach, ProxiedReach, Reach
from hanas_operator.reconcile import Reconciler
from hanas_operator.settings import OperatorSettings
from hanas_serving.server import HttpEndpoint, bind
from hanas_serving.settings import SettingError

_log = logging.getLogger("hanas_operator")


async def operate(settings: OperatorSettings, stopping: asyncio.Event) -> None:
    """Work until ``stopping`` is set. Raises SettingError."""
    async with connection.connect(settings) as client:
        api = Api(client)
        await connection.check(api, settings)
        queue, metrics = Queue(), OperatorMetrics()
        async with _reach(settings, api) as reach:
            followers = Followers(api, reach, metrics, queue.add)
            endpoint = None
            if settings.port:
                endpoint = HttpEndpoint(health.application(queue, metrics), bind(settings.port, "--port"))
                await endpoint.start()
            places, home = settings.namespaces, connection.own_namespace(settings)
            reconciler = Reconciler(api, followers, metrics, settings.image, namespaces=places, home=home)
            working = asyncio.create_task(queue.run(reconciler))

            async def stop(**_: Any) -> None:
                stopping.set()  # kopf waits for it too when a signal stops it
                working.cancel()
                followers.close()
                if endpoint is not None:
                    await endpoint.stop()

            scope = f"the namespace {', '.join(settings.namespaces)}" if settings.namespaces else "all namespaces"
            _log.info("working in %s of %s", scope, client.configuration.host)
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
            except Exception as error:  # a watch that failed after kopf's own retries
                raise SettingError(f"the API server cannot be watched: {error}") from error


@asynccontextmanager
async def _reach(settings: OperatorSettings, api: Api) -> AsyncIterator[Reach]:
    proxied = not connection.is_inside(settings) if settings.proxied is None else settings.proxied
    if proxied:
        yield ProxiedReach(api)
        return
    async with aiohttp.ClientSession() as session:
        yield DirectReach(session)
