"""The reconciles of backups and schedules, by their keys in the queue."""

from collections.abc import Callable

from hanas_operator import kinds
from hanas_operator.api import Api
from hanas_operator.backups import making, schedules
from hanas_operator.kinds import ResourceKind
from hanas_operator.queue import Key
from hanas_operator.report import RESYNC_SECONDS, UNSETTLED_SECONDS
from hanas_operator.territory import Territory

_MAKERS = {
    kinds.BACKUP.plural: (kinds.BACKUP, making.reconcile),
    kinds.SCHEDULED_BACKUP.plural: (kinds.SCHEDULED_BACKUP, schedules.reconcile),
}


def key_of(kind: ResourceKind, namespace: str, name: str) -> Key:
    """Return the key of an object. No HANas is called like that."""
    return namespace, f"{kind.plural}/{name}"


def is_key(key: Key) -> bool:
    """Return whether ``key`` is that of a backup or a schedule."""
    return "/" in key[1]


class Backups:
    """Reconciles backups and schedules."""

    def __init__(self, api: Api, leads: Callable[[], bool] = lambda: True, territory: Territory | None = None) -> None:
        """``leads``, ``territory``: see `hanas_operator.reconcile.Reconciler`."""
        self._api = api
        self._leads = leads
        self._territory = territory
        self.keys: set[Key] = set()
        """What is not at its end yet, as far as it is known."""

    async def __call__(self, key: Key) -> float | None:
        """Reconcile one object. Return the seconds until the next time; None: when it changes. Raises ApiError."""
        self.keys.add(key)
        if not self._leads():
            return RESYNC_SECONDS
        if self._territory is not None and await self._territory.other(key[0]):
            return UNSETTLED_SECONDS
        plural, _, name = key[1].partition("/")
        kind, make = _MAKERS[plural]
        found = await self._api.get(kind, key[0], name)
        gone = found is None or "deletionTimestamp" in found["metadata"]
        again = None if found is None or gone else await make(self._api, found)
        if again is None:
            self.keys.discard(key)
        return again
