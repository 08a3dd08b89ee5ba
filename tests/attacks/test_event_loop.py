"""Neither a worker nor an overseer uses the folder on its event loop's thread, whatever happens to it.

Each such call may wait for a file server for ever, and then the process answers nobody. So it is not enough that the
loop does not hang in these tests: no call of any kind may be made there, not even the closing of a file.
"""

import asyncio
import os
import sys
from pathlib import Path

from tests.integration.cluster import Cluster, running
from tests.integration.waiting import eventually

WATCH = Path(__file__).parent / "watched"
MIB = 1 << 20


def environment(notes: Path) -> dict[str, str]:
    notes.mkdir()
    return {"PYTHONPATH": str(WATCH), "HANAS_WATCH_NOTES": str(notes)}


async def test_the_watch_sees_each_kind_of_use(tmp_path: Path) -> None:
    """The control: every line is a use on the main thread, by a path, by a descriptor, or at the interpreter's end."""
    folder, notes = tmp_path / "folder", tmp_path / "notes"
    uses = (
        "file = os.open(folder + '/a', os.O_CREAT | os.O_RDWR)",
        "os.pwrite(file, b'x', 0)",
        "os.close(file)",
        "pathlib.Path(folder).is_dir()",
        "os.listdir(folder)",
        "os.link(folder + '/a', folder + '/b')",
        "pathlib.Path(folder, 'b').unlink()",
        "os.statvfs(folder)",
        "held = type('Held', (), {'__del__': lambda self, stat=os.stat: stat(folder)})()",
    )
    folder.mkdir()
    await run_python("\n".join(("import os, pathlib", f"folder = {str(folder)!r}", *uses)), folder, notes)
    [file] = notes.iterdir()
    kinds = [line.split()[0] for line in file.read_text().splitlines() if line and not line.startswith(" ")]
    for kind in ("open", "os.pwrite", "os.close", "os.stat", "os.listdir", "os.link", "os.remove", "os.statvfs"):
        assert kind in kinds
    assert kinds[-1] == "os.stat", "that of the end"


async def run_python(program: str, folder: Path, notes: Path) -> None:
    own = environment(notes) | {"COMMUNICATION_FOLDER": str(folder)}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, env=dict(os.environ) | own)
    assert await process.wait() == 0


async def test_nothing_is_done_in_the_folder_on_the_event_loop(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    small = {"HANAS_SEGMENT_BYTES": str(2 * MIB), "HANAS_VALUE_BYTES": str(MIB), "HANAS_COMPACT_BYTES": str(4 * MIB)}
    async with running(tmp_path, 3, None, **small, HANAS_CACHE_BYTES=str(MIB), **environment(notes)) as cluster:
        await cluster.settle()
        await compact(cluster)
        first = await cluster.main()
        await cluster.lab.kill(first)
        await cluster.client.put("taken over", b"1")
        await cluster.settle()
        await cluster.lab.terminate(await cluster.main())
        await cluster.client.put("handed over", b"1")
        await cluster.settle()
        await lose_the_folder_and_find_it(cluster)
        await cluster.client.put("found", b"1")
        processes = len(list(notes.iterdir()))
    assert processes >= 6, "an overseer, three workers, and two that were started again"
    assert "".join(file.read_text() for file in notes.iterdir()) == ""


async def compact(cluster: Cluster) -> None:
    """Overwrite and read values until a compaction is through."""

    async def compacted() -> bool:
        await asyncio.gather(*(cluster.client.put(f"k/{key}", os.urandom(MIB)) for key in range(3)))
        await cluster.client.get("k/1")
        return int((await cluster.status(await cluster.main()))["compaction"]["runs"]) > 0

    await eventually(compacted)


async def lose_the_folder_and_find_it(cluster: Cluster) -> None:
    folder = cluster.lab.communication_folder
    away = folder.rename(folder.with_name("away"))

    async def lost() -> bool:
        return not [name for name in cluster.names if (await cluster.status(name))["role"] == "main"]

    await eventually(lost)
    away.rename(folder)
    await cluster.settle()
