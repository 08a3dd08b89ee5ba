"""What the clients in the cluster run, in the image of the client: they write, read and delete, and tell each call.

Every call is a line of a history (`hanas_lab.history`) on the standard output. Arguments: the overseers and the
workers, each comma-separated or empty, the number of clients, that of keys, and "main" or "any": the worker to use. The
file /tmp/stop ends it: what is under way is finished, and then `LAST` reads every key once more.
"""

import asyncio
import contextlib
import pathlib
import random
import sys
import time

from hanas_client import AsyncClient, Policy
from hanas_client.errors import NotFound, PreconditionFailed, Refused, Unavailable
from hanas_lab import history
from hanas_lab.history import Action, Operation, OperationOutcome

REST_SECONDS = 0.04
NO_ROOM = 507
STOP = pathlib.Path("/tmp/stop")
LAST = "last"


class Calls:
    """The calls of one client."""

    def __init__(self, client: AsyncClient, name: str, keys: int) -> None:
        self.client, self.name, self.keys = client, name, keys
        self.versions: dict[str, str] = {}
        self.written = 0

    async def run(self) -> None:
        """Call until told to stop."""
        while not STOP.exists():
            key = f"e2e/{random.randrange(self.keys)}"
            await random.choices((self.put, self.get, self.put_if, self.delete), (10, 7, 2, 1))[0](key)
            await asyncio.sleep(REST_SECONDS)

    async def put(self, key: str, expected: str | None = None) -> None:
        self.written += 1
        value = f"{self.name}-{self.written}"  # nobody else ever writes it
        begun = time.time()
        outcome, version, created = OperationOutcome.OK, None, None
        try:
            written = await self.client.put(key, value.encode(), if_match=expected)
            version, created = written.version, written.created
            self.versions[key] = version
        except PreconditionFailed:
            outcome = OperationOutcome.REFUSED
        except Refused as error:
            if error.status != NO_ROOM:
                raise
            outcome = OperationOutcome.NOT_DONE
        except Unavailable as error:
            outcome = OperationOutcome.UNKNOWN if error.outcome_unknown else OperationOutcome.NOT_DONE
        condition = None if expected is None else (expected,)
        self.tell(begun, Action.PUT, key, outcome, value=value, version=version, created=created, if_match=condition)

    async def put_if(self, key: str) -> None:
        """Write over the version last seen."""
        if key in self.versions:
            await self.put(key, self.versions.pop(key))
        else:
            await self.get(key)

    async def get(self, key: str) -> None:
        begun = time.time()
        try:
            found = await self.client.get(key)
        except NotFound:
            self.tell(begun, Action.GET, key, OperationOutcome.ABSENT)
        except Unavailable:
            self.tell(begun, Action.GET, key, OperationOutcome.UNKNOWN)
        else:
            self.versions[key] = found.version
            self.tell(begun, Action.GET, key, OperationOutcome.OK, value=found.value.decode(), version=found.version)

    async def delete(self, key: str) -> None:
        begun = time.time()
        outcome = OperationOutcome.OK
        try:
            await self.client.delete(key)
        except NotFound:
            outcome = OperationOutcome.ABSENT
        except Unavailable as error:
            outcome = OperationOutcome.UNKNOWN if error.outcome_unknown else OperationOutcome.NOT_DONE
        self.tell(begun, Action.DELETE, key, outcome)

    def tell(
        self,
        begun: float,
        kind: Action,
        key: str,
        outcome: OperationOutcome,
        *,
        value: str | None = None,
        version: str | None = None,
        created: bool | None = None,
        if_match: tuple[str, ...] | None = None,
    ) -> None:
        """Write the line of a call."""
        told = Operation(
            start=begun,
            end=None if outcome is OperationOutcome.UNKNOWN else time.time(),
            client=self.name,
            kind=kind,
            key=key,
            value=value,
            outcome=outcome,
            version=version,
            created=created,
            if_match=if_match,
        )
        sys.stdout.write(history.encode(told).decode())
        sys.stdout.flush()


async def main(overseers: str, servers: str, clients: int, keys: int, worker: str) -> None:
    """Run all clients, each with connections of its own."""
    async with contextlib.AsyncExitStack() as opened:
        policy = Policy(deadline=60.0, any_worker=worker == "any")
        made = [
            await opened.enter_async_context(AsyncClient(overseers or (), servers or (), policy=policy))
            for _ in range(clients)
        ]
        async with asyncio.TaskGroup() as tasks:
            for number, client in enumerate(made):
                tasks.create_task(Calls(client, f"c{number}", keys).run())
        last = Calls(made[0], LAST, keys)
        for number in range(keys):
            await last.get(f"e2e/{number}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]))
