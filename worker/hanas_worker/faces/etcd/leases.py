"""Leases: keys that vanish with their owner."""

from typing import Any

from hanas_serving.grpc.calls import Method, StreamMethod
from hanas_serving.principals import Action
from hanas_worker.faces.etcd import errors
from hanas_worker.faces.etcd.calls import Call, Channel, answering
from hanas_worker.faces.etcd.facts import Facts
from hanas_worker.faces.etcd.messages.rpc_pb2 import (
    LeaseGrantRequest,
    LeaseGrantResponse,
    LeaseKeepAliveRequest,
    LeaseKeepAliveResponse,
    LeaseLeasesRequest,
    LeaseLeasesResponse,
    LeaseRevokeRequest,
    LeaseRevokeResponse,
    LeaseStatus,
    LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse,
)
from hanas_worker.faces.etcd.revisions import EVERYTHING, Lease, NoLease, Refusal

_LEAST_SECONDS = 2
"""etcd's own with its default times."""
_MOST_SECONDS = 9_000_000_000
_MOST_RENEWALS = 1000
"""Under way on one stream."""


class Leases:
    """The service ``Lease``."""

    def __init__(self, facts: Facts) -> None:
        """Serve the store of ``facts``."""
        self.facts, self._store = facts, facts.store

    def methods(self) -> list[Method | StreamMethod]:
        """Return the methods."""
        return [
            Method(b"/etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest.FromString, self.grant),
            Method(b"/etcdserverpb.Lease/LeaseRevoke", LeaseRevokeRequest.FromString, self.revoke),
            Method(b"/etcdserverpb.Lease/LeaseTimeToLive", LeaseTimeToLiveRequest.FromString, self.time_to_live),
            Method(b"/etcdserverpb.Lease/LeaseLeases", LeaseLeasesRequest.FromString, self.leases),
            StreamMethod(b"/etcdserverpb.Lease/LeaseKeepAlive", LeaseKeepAliveRequest.FromString, self.keep_alive),
        ]

    def grant(self, call: Call, request: LeaseGrantRequest) -> None:
        """Grant a lease."""
        self.facts.rights.somewhere(call, Action.WRITE)
        if request.TTL > _MOST_SECONDS:
            raise errors.LEASE_TOO_LONG

        def granted(lease: Lease) -> None:
            response = LeaseGrantResponse(header=self.facts.header(), ID=lease.id, TTL=lease.granted)
            call.reply(response.SerializeToString())

        self._store.grant(request.ID, max(request.TTL, _LEAST_SECONDS), answering(call, granted))

    def revoke(self, call: Call, request: LeaseRevokeRequest) -> None:
        """Revoke a lease. Whoever may write may do so: ids are as good as secrets, since only lists tell them."""
        self.facts.rights.somewhere(call, Action.WRITE)

        def revoked(revision: int) -> None:
            call.reply(LeaseRevokeResponse(header=self.facts.header(revision)).SerializeToString())

        self._store.revoke(request.ID, answering(call, revoked))

    def time_to_live(self, call: Call, request: LeaseTimeToLiveRequest) -> None:
        """Tell how long a lease lives on."""
        rights = self.facts.rights
        if request.keys:
            rights.on_keys(call, Action.LIST, EVERYTHING)
        else:
            rights.somewhere(call, Action.WRITE)

        def alive(lease: Lease) -> None:
            reply(TTL=lease.remaining, grantedTTL=lease.granted, keys=lease.keys if request.keys else ())

        def reply(**fields: Any) -> None:
            response = LeaseTimeToLiveResponse(header=self.facts.header(), ID=request.ID, **fields)
            call.reply(response.SerializeToString())

        def seen(result: Lease | Refusal) -> None:
            if isinstance(result, NoLease):
                reply(TTL=-1)
            else:
                answering(call, alive)(result)

        self._store.lease(request.ID, seen)

    def leases(self, call: Call, request: LeaseLeasesRequest) -> None:
        """List the leases."""
        del request
        self.facts.rights.on_keys(call, Action.LIST, EVERYTHING)

        def listed(ids: list[int]) -> None:
            leases = [LeaseStatus(ID=each) for each in ids]
            call.reply(LeaseLeasesResponse(header=self.facts.header(), leases=leases).SerializeToString())

        self._store.leases(answering(call, listed))

    def keep_alive(self, channel: Channel) -> "KeepAlive":
        """Begin a stream of renewals."""
        self.facts.rights.somewhere(channel, Action.WRITE)
        return KeepAlive(self.facts, channel)


class KeepAlive:
    """A stream of renewals."""

    def __init__(self, facts: Facts, channel: Channel) -> None:
        """Begin."""
        self._facts, self._channel = facts, channel
        self._renewals = 0
        """Under way."""
        self._ended = False

    def received(self, request: LeaseKeepAliveRequest) -> None:
        """Renew a lease. The header is made before: a client must not see a revision at which the lease is gone."""
        if self._renewals >= _MOST_RENEWALS:
            raise errors.TOO_MANY_REQUESTS
        response = LeaseKeepAliveResponse(header=self._facts.header(), ID=request.ID)
        self._renewals += 1

        def renewed(lease: Lease | Refusal) -> None:
            self._renewals -= 1
            if isinstance(lease, Refusal) and not isinstance(lease, NoLease):
                self._channel.fail_with(errors.of(lease))
                return
            response.TTL = lease.granted if isinstance(lease, Lease) else 0
            self._channel.send(response.SerializeToString())
            self._finish()

        self._facts.store.renew(request.ID, renewed)

    def ended(self) -> None:
        """End when all renewals are answered."""
        self._ended = True
        self._finish()

    def _finish(self) -> None:
        if self._ended and not self._renewals:
            self._channel.finish()

    def drained(self) -> None:
        """Do nothing: the answers of a stream that is not read are waited for before it is read on."""

    def gone(self) -> None:
        """Do nothing: the renewals are done anyway."""
