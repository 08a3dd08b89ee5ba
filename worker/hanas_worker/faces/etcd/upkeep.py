"""What people and programs ask about the cluster: status, alarms, members, health."""

from hanas_serving.grpc.calls import Method, StreamMethod
from hanas_serving.grpc.status import RpcError, StatusCode
from hanas_serving.principals import Action
from hanas_worker.faces.etcd.calls import Call, Channel, answering
from hanas_worker.faces.etcd.facts import CLUSTER_VERSION, VERSION, Facts
from hanas_worker.faces.etcd.messages.health_pb2 import HealthCheckRequest, HealthCheckResponse
from hanas_worker.faces.etcd.messages.rpc_pb2 import (
    NOSPACE,
    AlarmMember,
    AlarmRequest,
    AlarmResponse,
    AuthStatusRequest,
    AuthStatusResponse,
    DefragmentRequest,
    DefragmentResponse,
    DowngradeInfo,
    HashKVRequest,
    HashKVResponse,
    Member,
    MemberListRequest,
    MemberListResponse,
    StatusRequest,
    StatusResponse,
)
from hanas_worker.faces.etcd.revisions import EVERYTHING, Digest

_ACTIVATION = RpcError(StatusCode.UNIMPLEMENTED, "alarms come and go by themselves here: they cannot be activated")
_UNKNOWN_SERVICE = RpcError(StatusCode.NOT_FOUND, "unknown service")


class Upkeep:
    """The services ``Maintenance``, ``Cluster``, ``Auth`` and ``grpc.health.v1.Health``."""

    def __init__(self, facts: Facts) -> None:
        """Tell about the store of ``facts``."""
        self._facts, self._store = facts, facts.store

    def methods(self) -> list[Method | StreamMethod]:
        """Return the methods."""
        return [
            Method(b"/etcdserverpb.Maintenance/Status", StatusRequest.FromString, self.status),
            Method(b"/etcdserverpb.Maintenance/Alarm", AlarmRequest.FromString, self.alarm),
            Method(b"/etcdserverpb.Maintenance/Defragment", DefragmentRequest.FromString, self.defragment),
            Method(b"/etcdserverpb.Maintenance/HashKV", HashKVRequest.FromString, self.digest),
            Method(b"/etcdserverpb.Cluster/MemberList", MemberListRequest.FromString, self.members),
            Method(b"/etcdserverpb.Auth/AuthStatus", AuthStatusRequest.FromString, self.auth_status),
            Method(b"/grpc.health.v1.Health/Check", HealthCheckRequest.FromString, self.check),
            StreamMethod(b"/grpc.health.v1.Health/Watch", HealthCheckRequest.FromString, HealthWatch),
        ]

    def status(self, call: Call, request: StatusRequest) -> None:
        """Tell how this worker is."""
        del request
        self._facts.rights.somewhere(call, Action.LOCATE)
        vitals, facts = self._store.vitals(), self._facts
        response = StatusResponse(
            header=facts.header(),
            version=VERSION,
            dbSize=vitals.size,
            leader=facts.leader(),
            raftIndex=vitals.position,
            raftTerm=self._store.term,
            raftAppliedIndex=vitals.position,
            errors=[f"memberID:{facts.member} alarm:NOSPACE "] if vitals.full else [],
            dbSizeInUse=vitals.used,
            storageVersion=CLUSTER_VERSION,
            dbSizeQuota=vitals.quota,
            downgradeInfo=DowngradeInfo(),
        )
        call.reply(response.SerializeToString())

    def alarm(self, call: Call, request: AlarmRequest) -> None:
        """Tell what is wrong. Alarms end when their reasons do, so there is nothing to take back."""
        self._facts.rights.somewhere(call, Action.LOCATE)
        if request.action == AlarmRequest.ACTIVATE:
            raise _ACTIVATION
        alarms = []
        if request.action == AlarmRequest.GET and request.alarm in {0, NOSPACE} and self._store.vitals().full:
            alarms.append(AlarmMember(memberID=self._facts.member, alarm=NOSPACE))
        call.reply(AlarmResponse(header=self._facts.header(), alarms=alarms).SerializeToString())

    @staticmethod
    def defragment(call: Call, request: DefragmentRequest) -> None:
        """Do nothing: the log is compacted by itself."""
        del request
        call.reply(DefragmentResponse().SerializeToString())

    def digest(self, call: Call, request: HashKVRequest) -> None:
        """Return a hash of all that is readable, the same at all workers."""
        self._facts.rights.on_keys(call, Action.READ, EVERYTHING)

        def computed(digest: Digest) -> None:
            response = HashKVResponse(
                header=self._facts.header(digest.present),
                hash=digest.value,
                compact_revision=digest.compacted,
                hash_revision=digest.revision,
            )
            call.reply(response.SerializeToString())

        self._store.digest(max(0, request.revision), answering(call, computed))

    def members(self, call: Call, request: MemberListRequest) -> None:
        """List the workers."""
        del request
        self._facts.rights.somewhere(call, Action.LOCATE)
        members = [
            Member(ID=each.id, name=each.name, peerURLs=each.urls, clientURLs=each.urls)
            for each in self._facts.members()
        ]
        call.reply(MemberListResponse(header=self._facts.header(0), members=members).SerializeToString())

    def auth_status(self, call: Call, request: AuthStatusRequest) -> None:
        """Tell that there are no users here."""
        del request
        call.reply(AuthStatusResponse(header=self._facts.header(), authRevision=1).SerializeToString())

    @staticmethod
    def check(call: Call, request: HealthCheckRequest) -> None:
        """Tell that this worker serves: what it cannot answer just now it holds until it can."""
        if request.service:
            raise _UNKNOWN_SERVICE
        call.reply(HealthCheckResponse(status=HealthCheckResponse.SERVING).SerializeToString())


class HealthWatch:
    """A stream that tells the health, which does not change."""

    def __init__(self, channel: Channel) -> None:
        """Begin."""
        self._channel = channel

    def received(self, request: HealthCheckRequest) -> None:
        """Tell the health of a service."""
        known = not request.service
        status = HealthCheckResponse.SERVING if known else HealthCheckResponse.SERVICE_UNKNOWN
        self._channel.send(HealthCheckResponse(status=status).SerializeToString())

    def ended(self) -> None:
        """Go on: nothing is asked any more."""

    def drained(self) -> None:
        """Do nothing: there is nothing more to tell."""

    def gone(self) -> None:
        """End."""
