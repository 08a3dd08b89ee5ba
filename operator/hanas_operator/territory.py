"""Which operator works in a namespace: one installation at a time, by a Lease there. Another one refuses, in words.

Two installations whose namespaces overlap, such as one for the whole cluster and one for a namespace of it, would undo
each other's changes for ever. The replicas of one installation have the same identity.
"""

import logging
import time
from collections.abc import Callable

from hanas_operator import kinds, leases
from hanas_operator.api import Api, ApiError, Resource
from hanas_operator.recorder import Happening

NAME = "hanas-territory"
"""Not that of the Lease by which the replicas of an installation choose their leader."""
LEASE_SECONDS, RENEW_SECONDS = 150, 45.0
"""A Lease that was not renewed for this time, by the clock of who looks at it, is anybody's; it is renewed when a HANas
is reconciled and this much of it has passed: each one is at least once a minute."""
_log = logging.getLogger(__name__)


class Territory:
    """The namespaces of one installation."""

    def __init__(self, api: Api, identity: str, clock: Callable[[], float] = time.monotonic) -> None:
        """``identity``: what the replicas of this installation have in common; ``clock``: seconds, only growing."""
        self._clock = clock
        self._api = api
        self.identity = identity
        self._renewed: dict[str, float] = {}
        self._seen: dict[str, tuple[str, float]] = {}

    async def other(self, namespace: str) -> str:
        """Return the installation that works in ``namespace``; empty: this one does. Raises ApiError."""
        now = self._clock()
        if now - self._renewed.get(namespace, -RENEW_SECONDS) < RENEW_SECONDS:
            return ""
        try:
            holder = await self._take(namespace, now)
        except ApiError as error:
            if error.status == 403:  # rights of an earlier version
                _log.warning("%s: another operator would not be noticed: %s", namespace, error)
                holder = ""
            elif error.status == 409:  # another one was faster
                holder = await self._holder(namespace)
            else:
                raise
        if holder:
            self._renewed.pop(namespace, None)
            _log.warning("%s", words(namespace, holder, self.identity))
        else:
            self._renewed[namespace] = now
        return holder

    async def _take(self, namespace: str, now: float) -> str:
        lease, spec = await self._api.get(kinds.LEASE, namespace, NAME), leases.held(self.identity, LEASE_SECONDS)
        if lease is None:
            await leases.create(self._api, namespace, NAME, spec)
            return ""
        holder = leases.holder(lease)
        if holder not in {"", self.identity} and not self._is_over(namespace, lease, now):
            return holder
        await leases.renew(self._api, namespace, NAME, lease, spec)
        return ""

    async def _holder(self, namespace: str) -> str:
        lease = await self._api.get(kinds.LEASE, namespace, NAME)
        holder = "" if lease is None else leases.holder(lease)
        return "" if holder == self.identity else holder or "another one"

    def _is_over(self, namespace: str, lease: Resource, now: float) -> bool:
        """Return whether a Lease has not been renewed for long. The clocks of two machines are not compared."""
        renewal = str(lease.get("spec", {}).get("renewTime", ""))
        known, since = self._seen.get(namespace, (None, now))
        if known != renewal:
            self._seen[namespace] = renewal, now
            return False
        return now - since > LEASE_SECONDS


def words(namespace: str, holder: str, identity: str) -> str:
    """Return why ``identity`` leaves a namespace alone, and what to do."""
    return (
        f"the operator {holder} works in the namespace {namespace}, so the operator {identity} leaves it alone: let "
        "only one watch it (operator.watchNamespaces of the chart), and uninstall the other one"
    )


def refusal(namespace: str, holder: str, identity: str) -> Happening:
    """Return the event about a HANas that this operator leaves alone."""
    note = words(namespace, holder, identity)
    return Happening("AnotherOperator", "Warning", "Refuse", note, f"refused by {identity}, since {holder} works here")
