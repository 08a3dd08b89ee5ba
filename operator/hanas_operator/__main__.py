"""``hanas-operator``: connects, then watches until SIGTERM or SIGINT. Exit codes: 0 stopped, 1 failed, 2 usage."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import kopf

from hanas_operator import connection, handlers, health
from hanas_operator import settings as arguments
from hanas_operator.api import Api
from hanas_operator.followers import Followers
from hanas_operator.metrics import Metrics
from hanas_operator.queue import Queue
from hanas_operator.reach import Direct, Proxied, Reach
from hanas_operator.reconcile import Reconciler
from hanas_operator.settings import Settings
from hanas_serving import program
from hanas_serving.server import Endpoint, HttpEndpoint, bind
from hanas_serving.settings import SettingError

_log = logging.getLogger("hanas_operator")


def main() -> int:
    """Run the operator; return its exit code."""
    wanted = arguments.read(sys.argv[1:])

    async def run(stopping: asyncio.Event) -> None:
        await operate(wanted, stopping)

    return program.run("hanas-operator", run)


async def operate(wanted: Settings, stopping: asyncio.Event) -> None:
    """Work until ``stopping`` is set. Raises SettingError."""
    async with connection.connect(wanted) as client:
        api = Api(client)
        await connection.check(api, wanted)
        queue, metrics = Queue(), Metrics()
        async with _way(wanted, api) as way:
            followers = Followers(api, way, metrics, queue.add)
            endpoint = await _endpoint(wanted.port, queue, metrics)
            working = asyncio.create_task(queue.run(Reconciler(api, followers, metrics, wanted.image)))

            async def stop() -> None:
                stopping.set()  # kopf waits for this too, if it was a signal that stopped it
                working.cancel()
                followers.close()
                if endpoint is not None:
                    await endpoint.stop()

            _log.info("working in %s of %s", _places(wanted), client.configuration.host)
            handlers.quieten()
            try:
                await kopf.operator(
                    registry=handlers.registry(queue, client.configuration, stop),
                    settings=handlers.settings(),
                    standalone=True,
                    clusterwide=not wanted.namespaces,
                    namespaces=wanted.namespaces,
                    stop_flag=stopping,
                )
            except Exception as error:  # a watch that cannot go on; kopf has tried for a while
                raise SettingError(f"the API server cannot be watched: {error}") from error


def _places(wanted: Settings) -> str:
    return f"the namespace {', '.join(wanted.namespaces)}" if wanted.namespaces else "all namespaces"


@asynccontextmanager
async def _way(wanted: Settings, api: Api) -> AsyncIterator[Reach]:
    proxied = not connection.is_inside(wanted) if wanted.proxied is None else wanted.proxied
    if proxied:
        yield Proxied(api)
        return
    async with aiohttp.ClientSession() as session:
        yield Direct(session)


async def _endpoint(port: int, queue: Queue, metrics: Metrics) -> Endpoint | None:
    if not port:
        return None
    endpoint = HttpEndpoint(health.application(queue, metrics), bind(port, "--port"))
    await endpoint.start()
    return endpoint


if __name__ == "__main__":
    sys.exit(main())
