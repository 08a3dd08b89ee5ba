"""etcd's client libraries, as programs use them: they see the same with HANas and with a real etcd.

A flow in `clients/` prints what it sees, line by line. After the line "break" it waits for a line: until the main, or
the etcd, was killed and the store is whole again.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio

from tests.etcd.breakable import Breakable, single, workers
from tests.etcd.sides import program
from tests.integration.places import PATIENT

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

FLOWS = {
    "go": ["kv", "stm", "lock", "counter", "election", "watch", "lease"],
    "etcd3gw": ["kv", "lock", "watch", "lease"],
    "aetcd": ["kv", "lock", "watch", "lease"],
    "node": ["kv", "stm", "lock", "election", "watch", "lease"],
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sides(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mapping[str, Breakable]]:
    program("etcd")
    directory = tmp_path_factory.mktemp("sides")
    async with workers(directory, **PATIENT) as ours, single(directory) as theirs:
        yield {"HANas": ours, "etcd": theirs}


async def seen(command: list[str], side: Breakable) -> str:
    """Return what a flow prints."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    lines = []
    try:
        async for line in process.stdout:
            lines.append(line.decode())
            if lines[-1] == "break\n":
                await side.break_it()
                process.stdin.write(b"\n")
        assert await process.wait() == 0, f"{' '.join(command)} failed after:\n{''.join(lines)}"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return "".join(lines)


@pytest.mark.parametrize(("client", "flow"), [(client, flow) for client, flows in FLOWS.items() for flow in flows])
async def test_flows_see_the_same(
    request: pytest.FixtureRequest, sides: Mapping[str, Breakable], client: str, flow: str
) -> None:
    command = request.getfixturevalue(client)
    async with asyncio.TaskGroup() as group:
        actual, expected = (
            group.create_task(seen([*command, ",".join(sides[name].addresses), flow], sides[name]))
            for name in ("HANas", "etcd")
        )
    assert actual.result() == expected.result()
    assert expected.result()
