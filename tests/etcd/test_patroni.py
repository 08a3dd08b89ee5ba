"""Patroni with PostgreSQL, and HANas in etcd's place: a main that fails does not cost a primary its role."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.etcd.breakable import Workers, workers
from tests.etcd.postgres import Member, Timing, programs_of_postgres
from tests.integration.waiting import busy, eventually

KILLS = 10
DEFAULT, SHORT = Timing(ttl=30, loop_wait=10, retry_timeout=10), Timing(ttl=20, loop_wait=5, retry_timeout=5)
PRIMARY = {"role": "primary", "state": "running"}
STANDBY = {"role": "replica", "replication_state": "streaming"}
_LOOK_SECONDS = 0.2


@asynccontextmanager
async def members(
    stores: Workers, directory: Path, timing: Timing, patroni: Path
) -> AsyncIterator[tuple[Member, Member]]:
    """Run a primary and its standby."""
    async with AsyncExitStack() as stack:
        primary, standby = (Member(name, directory, stores.addresses, timing, patroni) for name in ("one", "two"))
        for member, expected in ((primary, PRIMARY), (standby, STANDBY)):
            stack.push_async_callback(member.stop)
            await member.start()
            await member.until(**expected)
        yield primary, standby


class Witness:
    """What is seen of a primary all the time."""

    def __init__(self, primary: Member) -> None:
        self._primary = primary
        self.over = False
        self.rows = 0
        self.roles: set[tuple[str, str, int]] = set()
        """Roles, states and timelines."""
        self.apart = 0.0
        """The longest time since Patroni was last answered by the store, seconds; its waits between rounds included."""

    async def look(self) -> None:
        while not self.over:
            status = await self._primary.status()
            self.roles.add((status["role"], status["state"], status["timeline"]))
            self.apart = max(self.apart, time.time() - status["dcs_last_seen"])
            await self._primary.ask("insert into beats default values")
            self.rows += 1
            await asyncio.sleep(_LOOK_SECONDS)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("timing", [DEFAULT, SHORT], ids=["default", "short"])
async def test_a_primary_outlives_mains(tmp_path: Path, environment: Path, timing: Timing) -> None:
    programs_of_postgres()
    async with (
        workers(tmp_path) as stores,
        members(stores, tmp_path, timing, environment / "patroni") as (primary, standby),
    ):
        await primary.ask("create table beats (number bigserial primary key)")
        witness = Witness(primary)
        async with asyncio.TaskGroup() as group:
            group.create_task(witness.look())
            for _ in range(KILLS):
                await asyncio.sleep(random.uniform(0, timing.loop_wait))  # in any part of Patroni's round
                killed = time.time()
                await stores.break_it()
                for member in (primary, standby):
                    await has_seen_the_store(member, killed)
            witness.over = True
        assert len(witness.roles) == 1, f"the primary has been: {witness.roles}"
        print(f"\n{timing}: {KILLS} kills, {witness.rows} rows, {witness.apart:.1f} s from answer to answer at most")

        await replicated(standby, witness.rows)
        failed = time.monotonic()
        await primary.kill()
        await standby.until(**PRIMARY)
        replaced = time.monotonic() - failed
        print(f"its standby followed a failed primary after {replaced:.1f} s")
        assert replaced < (timing.ttl + timing.loop_wait) * busy()
        assert int(await standby.ask("select count(*) from beats")) == witness.rows
        await standby.ask("insert into beats default values")
        await primary.start()
        await primary.until(**STANDBY)
        await replicated(primary, witness.rows + 1)


async def has_seen_the_store(member: Member, since: float) -> None:
    async def seen() -> bool:
        return bool((await member.status())["dcs_last_seen"] > since + 1)  # whole seconds

    await eventually(seen, 120)


async def replicated(member: Member, rows: int) -> None:
    async def there() -> bool:
        return int(await member.ask("select count(*) from beats")) == rows

    await eventually(there)
