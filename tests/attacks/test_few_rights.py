"""A worker that may write into the folder, but not into the mailboxes."""

import asyncio
import contextlib
import os
import pwd
import sys
from pathlib import Path

import httpx
import pytest

from hanas_core.members import cluster
from hanas_core.volume import blocking, names
from hanas_core.volume.posix import PosixFolder
from tests.attacks.workers import environment
from tests.integration.waiting import eventually
from tests.unit.worker.ports import free_port

pytestmark = pytest.mark.timeout(120)


@pytest.mark.usefixtures("root")
async def test_it_does_not_become_the_main(tmp_path: Path) -> None:
    user, folder = pwd.getpwnam("nobody"), tmp_path / "communication"
    folder.mkdir()
    blocking.run(cluster.initialise(PosixFolder(folder)))
    for box in (folder / names.MAILBOXES).iterdir():
        os.chown(box, user.pw_uid, user.pw_gid)
        box.chmod(0o644)
    own = environment("w1", folder, f"http://localhost:{free_port()}")
    worker = await asyncio.create_subprocess_exec(
        "setpriv",
        "--bounding-set=-dac_override",  # root without the right to write into what belongs to others
        sys.executable,
        "-m",
        "hanas_worker",
        env=own,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{own['PORT']}", trust_env=False) as http:

            async def told() -> bool:
                with contextlib.suppress(httpx.HTTPError):
                    trouble = (await http.get("/v1/status")).json().get("folder", {}).get("trouble") or ""
                    return "arrive" in trouble and "ermission" in trouble
                return False

            await eventually(told)
            assert list((folder / names.CLAIMS).iterdir()) == []
            for box in (folder / names.MAILBOXES).iterdir():
                box.chmod(0o666)

            async def serves() -> bool:
                return (await http.get("/readyz")).status_code == 200

            await eventually(serves)
    finally:
        worker.terminate()
        await worker.wait()
