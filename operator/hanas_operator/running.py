"""The running operator: the connection, the queue, the followers, the watches and the endpoint."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from hanas_operator import api, connection, health, reach, watches
from hanas_operator.api import Api
from hanas_operator.backups import controller
from hanas_operator.backups.controller import Backups
from hanas_operator.followers import Followers
from hanas_operator.leadership import Leadership
from hanas_operator.metrics import OperatorMetrics
from hanas_operator.queue import Key, Queue
from hanas_operator.reach import DirectReach, ProxiedReach, Reach
from hanas_operator.reconcile import Reconciler
from hanas_operator.settings import OperatorSettings
from hanas_operator.territory import Territory
from hanas_operator.tls.trust import Trust
from hanas_serving.server import HttpEndpoint, bind

_log = logging.getLogger("hanas_operator")


async def operate(settings: OperatorSettings, stopping: asyncio.Event) -> None:
    """Work until ``stopping`` is set. Raises SettingError."""
    async with AsyncExitStack() as open_:
        client = await open_.enter_async_context(connection.connect(settings))
        calls, queue, metrics = Api(client), Queue(), OperatorMetrics()
        hasty = Api(client, api.HASTY_SECONDS)
        access = await open_.enter_async_context(_reach(settings, hasty))
        followers = Followers(hasty, access, metrics, queue.add)
        open_.push_async_callback(followers.close)

        def led(leading: bool) -> None:
            metrics.leading.set(leading)
            if not leading:
                queue.restart()
            for key in followers.keys:
                queue.add(key)
                if not leading:
                    metrics.forget(key)
            for key in backups.keys:
                queue.add(key)

        leadership = Leadership(client, settings.lease, led)
        metrics.leading.set(leadership.leading)
        places, home = settings.namespaces, connection.own_namespace(settings)
        territory = Territory(calls, "/".join(settings.lease or (os.uname().nodename,)))
        reconciler = Reconciler(
            calls,
            followers,
            metrics,
            settings.image,
            lambda: leadership.leading,
            namespaces=places,
            home=home,
            territory=territory,
        )
        backups = Backups(calls, lambda: leadership.leading, territory)

        async def reconcile(key: Key) -> float | None:
            return await (backups(key) if controller.is_key(key) else reconciler(key))

        working = asyncio.create_task(queue.run(reconcile))
        open_.callback(working.cancel)
        if settings.port:
            endpoint = HttpEndpoint(health.application(queue, metrics), bind(settings.port, "--port"))
            await endpoint.start()
            open_.push_async_callback(endpoint.stop)
        await connection.until_checked(calls, settings, stopping)
        scope = f"the namespace {', '.join(settings.namespaces)}" if settings.namespaces else "all namespaces"
        _log.info("working in %s of %s", scope, client.configuration.host)
        electing = asyncio.create_task(leadership.run())
        open_.push_async_callback(_ended, electing)
        await watches.watch(queue, client.configuration, settings.namespaces, stopping)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _reach(settings: OperatorSettings, calls: Api) -> AsyncIterator[Reach]:
    proxied = not connection.is_inside(settings) if settings.proxied is None else settings.proxied
    if proxied:
        yield ProxiedReach(calls)
        return
    async with reach.session() as session:
        yield DirectReach(session, Trust(calls))
