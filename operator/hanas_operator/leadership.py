"""Which of several operators reconciles: the holder of a Lease, by the election of the official client.

The others follow all clusters and label their mains as well, so they take over at once what clients wait for.
"""

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from uuid import uuid4

from kubernetes.aio.client import ApiClient
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.baselock import BaseLock

from hanas_operator import kinds, leases
from hanas_operator.api import Api, ApiError, Resource

LEASE_SECONDS = 15
"""Another one takes over when the holder has not renewed the Lease for this time."""
DEADLINE_SECONDS, RETRY_SECONDS, CALL_SECONDS = 8, 2, 2.0
"""The holder renews every RETRY_SECONDS, and stops in time when that has failed for DEADLINE_SECONDS: the last try may
begin just before, makes two calls, and waits once more."""
assert DEADLINE_SECONDS + 2 * CALL_SECONDS + RETRY_SECONDS < LEASE_SECONDS
_log = logging.getLogger(__name__)


class Leadership:
    """Whether this operator reconciles."""

    def __init__(self, client: ApiClient, lease: tuple[str, str] | None, changed: Callable[[bool], None]) -> None:
        """``lease``: namespace and name of the Lease; None: this is the only operator.

        ``changed``: called with whether this one leads, when that changes.
        """
        self._api = Api(client, CALL_SECONDS)
        self._lease = lease
        self._changed = changed
        self._identity = os.environ.get("POD_NAME") or f"{os.uname().nodename}-{uuid4().hex[:8]}"
        self.leading = lease is None

    async def run(self) -> None:
        """Take part in the election until cancelled; then leave the Lease to another one."""
        if self._lease is None:
            return
        namespace, name = self._lease
        try:
            while True:
                lock = _Lock(self._api, namespace, name, self._identity)
                config = Config(lock, LEASE_SECONDS, DEADLINE_SECONDS, RETRY_SECONDS, self._lead, self._follow)
                try:
                    await LeaderElection(config).run()
                except Exception as error:  # the content of the Lease is arbitrary
                    _log.warning("the Lease %s/%s: %s", namespace, name, error)
                await self._follow()
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            if self.leading:
                await self._follow()
                await self._release(namespace, name)

    async def _lead(self) -> None:
        self.leading = True
        _log.info("leads now")
        self._changed(True)

    async def _follow(self) -> None:
        if self.leading:
            self.leading = False
            _log.info("leads no more")
            self._changed(False)

    async def _release(self, namespace: str, name: str) -> None:
        try:
            await self._api.merge(kinds.LEASE, namespace, name, {"spec": {"holderIdentity": None}})
        except ApiError as error:
            _log.warning("the Lease was not left, and runs out in %d s: %s", LEASE_SECONDS, error)


class _Lock(BaseLock):
    """The Lease. Each write names the version that was read, so of two that try at once one fails."""

    def __init__(self, api: Api, namespace: str, name: str, identity: str) -> None:
        super().__init__(name, namespace, identity)
        self._api = api
        self._read: Resource = {}

    async def get(
        self, name: str, namespace: str
    ) -> tuple[bool, LeaderElectionRecord] | tuple[bool, Exception] | tuple[bool, None]:
        try:
            lease = await self._api.get(kinds.LEASE, namespace, name)
        except ApiError as error:
            return False, ApiException(error.status, str(error))
        if lease is None:
            missing = ApiException(HTTPStatus.NOT_FOUND, "there is none")
            missing.body = json.dumps({"code": HTTPStatus.NOT_FOUND})
            return False, missing
        self._read = lease
        spec = lease.get("spec", {})
        seconds = spec.get("leaseDurationSeconds")
        return True, LeaderElectionRecord(
            spec.get("holderIdentity"), seconds and str(seconds), spec.get("acquireTime"), spec.get("renewTime")
        )

    async def create(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:
        return await self._tried(leases.create(self._api, namespace, name, self._held()))

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        return await self._tried(leases.renew(self._api, namespace, name, self._read, self._held()))

    def _held(self) -> Resource:
        held = leases.held(self.identity, LEASE_SECONDS)
        if leases.holder(self._read) != self.identity:
            held["acquireTime"] = held["renewTime"]
        return held

    async def _tried(self, call: Awaitable[Resource]) -> bool:
        try:
            await call
        except ApiError as error:
            _log.debug("the Lease was not written: %s", error)
            return False
        return True
