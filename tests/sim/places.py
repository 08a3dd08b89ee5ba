"""The critical operations on the folder, the places for ambushes."""

from __future__ import annotations

from typing import NamedTuple

from hanas_core.log.claimfile import POINTER_OFFSET, SEAL_OFFSET
from hanas_core.members.roles import Role
from tests.sim.mount import Call


class Place(NamedTuple):
    """A kind of operation for an ambush."""

    kind: str
    name: str
    offset: int | None = None
    role: Role | None = None
    """Only at a member in this role."""

    def matches(self, call: Call, role: Role | None) -> bool:
        return (
            call.kind == self.kind
            and call.name.startswith(self.name)
            and (self.offset is None or call.offset == self.offset)
            and (self.role is None or self.role is role)
        )


PLACES = (
    Place("link", "claims/"),
    Place("sync_directory", "claims"),
    Place("read", "claims/"),
    Place("read", "claims/"),
    Place("read", "claims/"),
    Place("write_block", "claims/"),
    Place("write_block", "claims/"),
    Place("write", "segments/"),
    Place("sync", "segments/"),
    Place("sync", "segments/"),
    Place("link", "segments/"),
    Place("sync_directory", "segments"),
    Place("link", "manifests/"),
    Place("sync_directory", "manifests"),
    Place("read", "segments/"),
    Place("read", "manifests/"),
    Place("write_block", "mailboxes/"),
    Place("read", "mailboxes/"),
)
COMMITS = (
    Place("write", "segments/", role=Role.MAIN),
    Place("sync", "segments/", role=Role.MAIN),
    Place("sync", "segments/", role=Role.MAIN),
    Place("sync", "segments/", role=Role.MAIN),
    Place("read", "claims/", SEAL_OFFSET, Role.MAIN),
    Place("read", "claims/", SEAL_OFFSET, Role.MAIN),
    Place("sync_directory", "segments", role=Role.MAIN),
)
"""Operations of a main for each batch, and for a roll."""
TAKEOVERS = (
    Place("write_block", "claims/", SEAL_OFFSET, Role.ELECT),
    Place("write_block", "claims/", SEAL_OFFSET, Role.ELECT),
    Place("read", "claims/", POINTER_OFFSET, Role.ELECT),
    Place("read", "segments/", role=Role.ELECT),
    Place("sync", "segments/", role=Role.ELECT),
    Place("link", "segments/", role=Role.ELECT),
    Place("link", "manifests/", role=Role.ELECT),
    Place("write_block", "claims/", POINTER_OFFSET, Role.ELECT),
    Place("write_block", "claims/", POINTER_OFFSET, Role.ELECT),
    Place("read", "claims/", SEAL_OFFSET, Role.ELECT),
)
"""The steps of a takeover."""
COMPACTIONS = (
    Place("link", "claims/", role=Role.MAIN),
    Place("sync_directory", "claims", role=Role.MAIN),
    Place("link", "segments/", role=Role.MAIN),
    Place("sync_directory", "segments", role=Role.MAIN),
    Place("write_block", "claims/", SEAL_OFFSET, Role.MAIN),
    Place("link", "manifests/", role=Role.MAIN),
    Place("write_block", "claims/", POINTER_OFFSET, Role.MAIN),
    Place("remove", "segments/", role=Role.MAIN),
    Place("remove", "segments/", role=Role.MAIN),
)
"""Operations of a main for a compaction and its new epoch."""
