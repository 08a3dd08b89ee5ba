"""One follower for each cluster, and the label of the main, which each new view updates at once."""

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

from hanas_operator import kinds, main_label, names
from hanas_operator.api import Api, ApiError, Resource
from hanas_operator.follower import ClusterFollower
from hanas_operator.metrics import OperatorMetrics
from hanas_operator.objects import secret
from hanas_operator.obstacles import Obstacle
from hanas_operator.queue import Key
from hanas_operator.reach import Reach, Reply, Unreachable, of_pod
from hanas_operator.view import ClusterView

MOST_TRIES, RETRY_SECONDS = 5, 0.2
"""Of labelling a new main at once: of several API servers, one may be lost with the same node."""
_log = logging.getLogger(__name__)


class Followed(NamedTuple):
    """A cluster as it was when its main was labelled."""

    pods: list[Resource]
    refusals: list[Obstacle]
    """The labels that were refused."""
    view: ClusterView | None
    trouble: str
    """Why there is no event stream; empty while one is open."""


class Followers:
    """Starts and stops followers, and returns their views."""

    def __init__(self, api: Api, access: Reach, metrics: OperatorMetrics, changed: Callable[[Key], None]) -> None:
        """``changed``: called for each new view of a cluster."""
        self._api = api
        self._reach = access
        self._metrics = metrics
        self._changed = changed
        self._running: dict[Key, tuple[ClusterFollower, asyncio.Task[None]]] = {}

    @property
    def keys(self) -> list[Key]:
        """The clusters that are followed."""
        return list(self._running)

    def latest(self, key: Key) -> tuple[ClusterView | None, str]:
        """Return the newest view of a cluster, None if there is none; and why there is no event stream."""
        if key not in self._running:
            return None, "no overseer has been asked yet"
        follower = self._running[key][0]
        return follower.view, follower.trouble

    async def attend(self, key: Key) -> Followed:
        """Follow a cluster and keep the label of its main."""
        pods = await main_label.read(self._api, key)
        self.follow(key, pods)
        view, trouble = self.latest(key)
        return Followed(*await main_label.keep(self._api, key, pods, view), view, trouble)

    def follow(self, key: Key, pods: list[Resource]) -> None:
        """Follow a cluster, which has these pods."""
        if key not in self._running:
            follower = ClusterFollower(self._reach, key, self._token, self._update)
            self._running[key] = follower, asyncio.create_task(follower.run(), name=f"follow {key[0]}/{key[1]}")
        self._running[key][0].watch(pods)

    def forget(self, key: Key) -> None:
        """Stop following a deleted cluster."""
        if key in self._running:
            self._running.pop(key)[1].cancel()

    async def close(self) -> None:
        """Stop following all clusters, and wait until nothing is asked any more."""
        tasks = [task for _, task in self._running.values()]
        for key in list(self._running):
            self.forget(key)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def post(self, key: Key, member: str, path: str, content: bytes) -> Reply:
        """Send JSON to a worker of a cluster. Raises Unreachable."""
        name = names.of(key[1], member)
        try:
            pods = await main_label.read(self._api, key)
        except ApiError as error:
            raise Unreachable(f"the pods cannot be read: {error}") from None
        pod = next((pod for pod in pods if pod["metadata"]["name"] == name), None)
        if pod is None:
            raise Unreachable(f"there is no pod {name}")
        return await self._reach.post(of_pod(pod, names.WORKER_PORT), path, await self._token(key), content)

    async def _update(self, key: Key, view: ClusterView | None) -> None:
        # The label comes first: clients wait for it. The next reconcile does the rest.
        with self._metrics.label_seconds.time():
            for _ in range(MOST_TRIES):
                try:
                    await main_label.keep(self._api, key, await main_label.read(self._api, key), view)
                    break
                except ApiError as error:
                    _log.warning("%s/%s: the role of the main was not labelled yet: %s", *key, error)
                    await asyncio.sleep(RETRY_SECONDS)
        self._changed(key)

    async def _token(self, key: Key) -> str:
        try:
            existing = await self._api.get(kinds.SECRET, key[0], names.of(key[1], names.SECRET))
        except ApiError as error:
            raise Unreachable(f"the Secret of the components cannot be read: {error}") from None
        lines = secret.lines(existing or {})
        if not lines:
            raise Unreachable(f"there is no Secret {names.of(key[1], names.SECRET)} to ask the overseer with")
        return lines[0]
