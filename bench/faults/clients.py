"""Clients that write, read and delete all the time, and record each request with its answer and its times."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from bench.faults.spreading import Keys

from hanas_client.errors import HanasError, NotFound, Unavailable
from hanas_lab.acknowledgements import Acknowledgements
from hanas_lab.audit import LastValue
from hanas_lab.history import Action, Operation, OperationOutcome

KEYS = 12
"""The number of keys in use at one time."""


@dataclass(slots=True)
class Clients(Acknowledgements):
    """Several clients on a few keys; `next_keys` replaces the keys. Use it as an asynchronous context manager."""

    client: Keys
    writers: int = 3
    readers: int = 3
    rest: float = 0.04
    """The pause of each client between two calls, seconds."""
    history: list[Operation] = field(default_factory=list)
    _generation: int = 0
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._write(number)) for number in range(self.writers)]
        self._tasks += [asyncio.create_task(self._read(number)) for number in range(self.readers)]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End all clients; open requests stay unanswered in the history. Raises the error of a client."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    def next_keys(self) -> None:
        """Use new keys, so that no key gets a long history."""
        self._generation += 1

    async def last_values(self) -> dict[str, LastValue]:
        """Read every key of the history."""
        values: dict[str, LastValue] = {}
        for key in sorted({operation.key for operation in self.history}):
            try:
                value = await self.client.get(key)
            except NotFound:
                continue
            values[key] = LastValue(value.value.decode(), value.version)
        return values

    def _key(self) -> str:
        return f"g{self._generation:05d}/{random.randrange(KEYS):02d}"

    async def _write(self, number: int) -> None:
        count = 0
        while True:
            count += 1
            if random.random() < 0.1:
                await self._delete(f"writer-{number}")
            else:
                await self._put(f"writer-{number}", f"{number}.{count}")
            await asyncio.sleep(self.rest)

    async def _put(self, client: str, value: str) -> None:
        key = self._key()
        operation = partial(Operation, start=time.monotonic(), client=client, kind=Action.PUT, key=key, value=value)
        try:
            written = await self.client.put(key, value.encode())
        except HanasError as error:
            self.history.append(operation(outcome=_failed(error)))
            return
        except asyncio.CancelledError:
            self.history.append(operation(outcome=OperationOutcome.UNKNOWN))
            raise
        now = time.monotonic()
        self.history.append(
            operation(outcome=OperationOutcome.OK, end=now, version=written.version, created=written.created)
        )
        await self._acknowledge(written.version, now)

    async def _delete(self, client: str) -> None:
        key = self._key()
        operation = partial(Operation, start=time.monotonic(), client=client, kind=Action.DELETE, key=key)
        try:
            await self.client.delete(key)
            outcome = OperationOutcome.OK
        except NotFound:
            outcome = OperationOutcome.UNKNOWN  # an earlier attempt may have deleted the key
        except HanasError as error:
            outcome = _failed(error)
        except asyncio.CancelledError:
            self.history.append(operation(outcome=OperationOutcome.UNKNOWN))
            raise
        end = time.monotonic() if outcome is OperationOutcome.OK else None
        self.history.append(operation(outcome=outcome, end=end))

    async def _read(self, number: int) -> None:
        while True:
            key = self._key()
            operation = partial(Operation, start=time.monotonic(), client=f"reader-{number}", kind=Action.GET, key=key)
            try:
                value = await self.client.get(key)
            except NotFound:
                self.history.append(operation(outcome=OperationOutcome.ABSENT, end=time.monotonic()))
            except HanasError:
                pass  # it says nothing about the key
            else:
                text, now = value.value.decode(), time.monotonic()
                self.history.append(operation(outcome=OperationOutcome.OK, value=text, end=now, version=value.version))
            await asyncio.sleep(self.rest)


def _failed(error: HanasError) -> OperationOutcome:
    if isinstance(error, Unavailable) and error.outcome_unknown:
        return OperationOutcome.UNKNOWN
    return OperationOutcome.NOT_DONE
