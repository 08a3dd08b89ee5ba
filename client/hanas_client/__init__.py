"""The Python client of HANas and the `hanas` command.

    from hanas_client import Client

    with Client("http://localhost:4000") as client:
        client.put("greeting", b"hello")
        print(client.get("greeting").value)

`AsyncClient` is the same for asyncio. Both find the main through the overseer or any worker, and continue over
takeovers.
"""

from hanas_client.asynchronous import AsyncClient
from hanas_client.calls import Value, Written
from hanas_client.documents import Alert, Cluster, Entry, Member, Page, Takeover
from hanas_client.errors import (
    BadAnswer,
    Compacted,
    HanasError,
    LeaseLost,
    NoLease,
    NotAcquired,
    NotFound,
    PreconditionFailed,
    Refused,
    Unavailable,
)
from hanas_client.leases import Lease
from hanas_client.locks import Election, Lock
from hanas_client.settings import Policy
from hanas_client.sync import Client
from hanas_client.transactions import KeyState, TxnResult
from hanas_client.watches import Watch
from hanas_client.watching import Change, Changes

__all__ = [
    "Alert",
    "AsyncClient",
    "BadAnswer",
    "Change",
    "Changes",
    "Client",
    "Cluster",
    "Compacted",
    "Election",
    "Entry",
    "HanasError",
    "KeyState",
    "Lease",
    "LeaseLost",
    "Lock",
    "Member",
    "NoLease",
    "NotAcquired",
    "NotFound",
    "Page",
    "Policy",
    "PreconditionFailed",
    "Refused",
    "Takeover",
    "TxnResult",
    "Unavailable",
    "Value",
    "Watch",
    "Written",
]
