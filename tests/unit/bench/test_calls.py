"""The record of the calls on the folder, and what is shown of it."""

import subprocess
import sys
from pathlib import Path

import pytest
from bench import calls

_PROGRAM = """
import sys
from pathlib import Path
from bench import calls
from hanas_core.volume import blocking
from hanas_core.volume.errors import Missing
from hanas_core.volume.posix import PosixFolder

async def work(folder):
    await folder.create("name", bytes(4096))
    await (await folder.open("name", "read")).read(0, 4096)
    try:
        await folder.open("none", "read")
    except Missing:
        pass

with Path(sys.argv[1]).open("w") as out:
    calls.trace(out)
    blocking.run(work(PosixFolder(Path(sys.argv[2]))))
"""


def test_each_call_is_written_down_with_its_lane_its_name_and_its_error(tmp_path: Path) -> None:
    record, folder = tmp_path / "calls.7", tmp_path / "folder"
    folder.mkdir()
    subprocess.run([sys.executable, "-c", _PROGRAM, record, folder], check=True)
    found = calls.lines(record)
    assert [line.text for line in found] == [
        "MainThread create name 4096 bytes",
        "MainThread open name read",
        "MainThread read name 0 4096",
        "MainThread open none read Missing",
    ]
    assert all(line.took >= 0 and line.source == "7" for line in found)


def test_what_was_under_way_between_two_moments_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "calls.7"
    record.write_text(
        "10.0 1.0 mail read before 0 1\n11.5 2.0 watch open begins-before read\n12.5 0.0 log: epoch 1 is ours\n"
        "12.6 0.1 mail read short 0 1\n14.0 1.0 mail read after 0 1\n"
    )
    calls.show([record], 12.0, 13.0, 0.5)
    assert [row.split() for row in capsys.readouterr().out.splitlines()] == [
        ["-0.500", "2.000", "7", "watch", "open", "begins-before", "read"],
        ["0.500", "0.000", "7", "log:", "epoch", "1", "is", "ours"],
    ]
