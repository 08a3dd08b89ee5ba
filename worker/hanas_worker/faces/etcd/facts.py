"""What the face knows of the cluster and of itself, and the header of each answer."""

from collections.abc import Callable, Sequence

import msgspec

from hanas_worker.faces.etcd.messages.rpc_pb2 import ResponseHeader
from hanas_worker.faces.etcd.revisions import RevisionStore
from hanas_worker.faces.etcd.rights import Rights

VERSION = "3.6.5"
"""The version of etcd whose behaviour this is; clients take features for granted by it."""
CLUSTER_VERSION = "3.6.0"


class Member(msgspec.Struct, frozen=True):
    """A worker."""

    id: int
    name: str
    urls: Sequence[str]
    """Where clients reach its face."""


class Facts(msgspec.Struct, frozen=True):
    """What stands in answers."""

    store: RevisionStore
    cluster: int
    """Never 0, and never another one."""
    member: int
    """This worker's."""
    members: Callable[[], Sequence[Member]]
    leader: Callable[[], int]
    """The main's id; 0 while there is none."""
    rights: Rights

    def header(self, revision: int | None = None) -> ResponseHeader:
        """Return a header with ``revision``; None: the present one."""
        store = self.store
        return ResponseHeader(
            cluster_id=self.cluster,
            member_id=self.member,
            revision=store.revision if revision is None else revision,
            raft_term=store.term,
        )
