"""The examples of docs/coordination.md, as they stand there."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from tests.integration.cluster import Cluster
from tests.integration.programs import COMMANDS
from tests.integration.waiting import PATIENCE_SECONDS, within

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

_DOCUMENT = Path(__file__).parents[2] / "docs/coordination.md"
_OVERSEER = "http://localhost:4000"
BLOCKS = re.findall(r"^```(python|sh)\n(.*?)^```$", _DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


async def said(cluster: Cluster, *command: str) -> str:
    environment = {"OVERSEER_IP": cluster.lab.overseer_url, "PATH": f"{COMMANDS}:{os.environ['PATH']}"}
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await within(3 * PATIENCE_SECONDS, process.communicate())
    assert process.returncode == 0, command
    return out.decode()


@pytest.mark.long
async def test_the_examples_in_their_order(alone: Cluster) -> None:
    shell = ["sh", "-e", "-c"]
    told = [
        await said(alone, *([sys.executable, "-c"] if kind == "python" else shell), text.replace(_OVERSEER, url))
        for url in [alone.lab.overseer_url]
        for kind, text in BLOCKS
    ]
    watching, shown, transaction, txn, lease, leases, lock, locks, election = told
    assert watching == "2 orders/4711 b'open' None\n"
    assert shown.splitlines()[1:] == [
        "openorders/4711\t1-1\t4",
        "2\tput\torders/4711\topen\t–",
        "3\tput\torders/4711\topen\topen",
    ]
    assert transaction.startswith("False 3 (Result(")
    assert '"succeeded":true' in txn
    assert lease == ""
    _, renewed, remains, key, revoked = leases.splitlines()
    assert (renewed.endswith("lives for 600 s"), key, revoked.endswith("is revoked")) == (True, "workers/me", True)
    assert remains.endswith("of 600 s")
    assert re.fullmatch(r"fencing token: \d+\n", lock)
    assert re.fullmatch(r"the token is \d+, the key nightly/[0-9a-f]+\n", locks)
    assert election == "b'host-1:8081' True\nb'host-1:8081'\n"
