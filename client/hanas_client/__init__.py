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
from hanas_client.errors import BadAnswer, HanasError, NotFound, PreconditionFailed, Refused, Unavailable
from hanas_client.settings import Policy
from hanas_client.sync import Client

__all__ = [
    "Alert",
    "AsyncClient",
    "BadAnswer",
    "Client",
    "Cluster",
    "Entry",
    "HanasError",
    "Member",
    "NotFound",
    "Page",
    "Policy",
    "PreconditionFailed",
    "Refused",
    "Takeover",
    "Unavailable",
    "Value",
    "Written",
]
