"""``/v1/leases``: requests and answers about leases, and their JSON (docs/api.md)."""

from math import ceil

import msgspec
from msgspec import UNSET, UnsetType

from hanas_core.state.keytexts import is_text
from hanas_core.state.leases import MOST_ID, MOST_TTL
from hanas_serving.answers import Answer
from hanas_serving.problems import Problem
from hanas_worker.calls import Ended
from hanas_worker.faces.http.answers import of_json, revision_line
from hanas_worker.faces.http.requests import decoded, lease_of

PATH = b"/v1/leases"
_KEEP_ALIVE = b"/keepalive"
_EXAMPLE = '{"ttl": 30}'
MOST_BODY_BYTES = 4096


class Grant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A wish for a lease."""

    ttl: int
    """Seconds."""
    id: int | UnsetType = UNSET


class Granted(msgspec.Struct, frozen=True):
    """A lease that was granted, or renewed."""

    id: int
    ttl: int


class LeaseShown(msgspec.Struct, frozen=True):
    """A lease, and its keys."""

    id: int
    ttl: int
    remaining: int
    """Seconds until it expires."""
    keys: list[str]


_decoder = msgspec.json.Decoder(Grant)


def concerns(raw_path: bytes) -> bool:
    """Return whether a path, not decoded, is that of leases."""
    return raw_path == PATH or raw_path.startswith(PATH + b"/")


def asked(raw_path: bytes) -> tuple[int, bool]:
    """Return the lease in a path, and whether that is the one of keep-alives. Raises Problem: 400."""
    content = raw_path[len(PATH) + 1 :]
    return lease_of(content.removesuffix(_KEEP_ALIVE), "what follows /v1/leases/"), content.endswith(_KEEP_ALIVE)


def grant_of(body: bytes) -> Grant:
    """Return what a body asks for. Raises Problem: 400."""
    grant = decoded(_decoder.decode, body, "this asks for no lease", _EXAMPLE)
    if not 1 <= grant.ttl <= MOST_TTL:
        raise Problem(400, f"ttl must be from 1 to {MOST_TTL} seconds, not {str(grant.ttl)[:40]}; nothing was done")
    if not isinstance(grant.id, UnsetType) and not 1 <= grant.id <= MOST_ID:
        raise Problem(400, f"id must be from 1 to {MOST_ID}, or left out; nothing was done")
    return grant


def of_grant(lease: int, ttl: int, epoch: int, revision: int, status: int = 201) -> Answer:
    """Return the answer with a lease that was granted, or renewed."""
    return of_json(status, msgspec.json.encode(Granted(lease, ttl)), epoch, revision)


def of_lease(shown: LeaseShown, epoch: int, revision: int) -> Answer:
    """Return the answer with a lease."""
    return of_json(200, msgspec.json.encode(shown), epoch, revision)


def shown(lease: int, ttl: int, left: float, keys: list[bytes]) -> LeaseShown:
    """Return what is shown of a lease: of its keys those that are UTF-8."""
    return LeaseShown(lease, ttl, ceil(left), [key.decode() for key in keys if is_text(key)])


def of_revoke(ended: Ended) -> Answer:
    """Return the answer to a revoke."""
    return Answer(204, b"hanas-epoch: %d\r\n%b" % (ended.epoch, revision_line(ended.revision)))
