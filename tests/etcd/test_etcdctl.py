"""etcd's own command line with a real etcd and with the face: the same commands say the same."""

import asyncio
import os
import re
import shlex
import tempfile
from pathlib import Path

import pytest

from tests.etcd.sides import program, real_etcd
from tests.unit.worker.etcd_faces import serving
from tests.unit.worker.etcd_store import made

# A line is a command; behind "<<" is its input, lines separated by "|". {lease} is the lease that was granted last.
COMMANDS = """
put a 1
put b 2
put b 3 --prev-kv
put dir/x X
put dir/y Y
get a
get a -w json
get a -w fields
get --prefix dir
get --prefix dir --keys-only
get --prefix "" --count-only -w fields
get --from-key b --limit 2
get a dir/y --order DESCEND --sort-by MODIFY
get --prefix dir --print-value-only
get a --rev 2 -w json
get a --rev 99
get nothing
del nothing
del b --prev-kv
del --prefix dir/x
txn << mod("a") > "0"||put a 2|get a||put a 3|
txn << value("a") = "9"|create("z") = "0"||put z 1||get a|del dir/y|
txn << ||put a 1|put a 2||
get --prefix "" -w json
lease grant 300
lease timetolive {lease}
put leased 1 --lease {lease}
lease timetolive {lease} --keys
lease keep-alive --once {lease}
lease list
put leased 2 --ignore-lease
put leased --ignore-value 2
lease revoke {lease}
get leased
lease revoke {lease}
lease timetolive {lease}
lease keep-alive --once {lease}
put a 1 --lease 123
watch --rev 2 --prev-kv --prefix ""
watch --rev 2 b
watch --rev 5 -w json --prefix ""
compaction 6
compaction 6
compaction 99
get a --rev 3
watch --rev 3 a
watch --rev 6 --prefix ""
lock one echo held
lock two true
elect --listen nobody
endpoint health
endpoint health -w json
endpoint status -w fields
endpoint hashkv
member list -w fields
alarm list
alarm disarm
auth status
defrag
version
""".strip().splitlines()
UNBOUNDED = ("watch", "elect")
"""These do not end by themselves."""
LOOK_SECONDS = 1.5
"""So long is waited for what they say."""
SCRATCHES = [
    (r'"?(Cluster|Member)?(Leader)?_?(cluster|member)?_?(leader)?_?(ID|id)"?\s*:\s*\d+', "ID"),
    (r'"(RaftTerm|RaftIndex|RaftAppliedIndex|DBSize|DBSizeInUse)" : \d+', "NUMBER"),
    (r'"(Name|PeerURL|ClientURL|Leader)" : \S+', "OWN"),
    (r"http://127\.0\.0\.1:\d+", "URL"),
    (r"took[ =:\"]*[\d.]+[µm]?s", "TOOK"),
    (r"URL, \d+, ", "URL, HASH, "),
    (r"\b[0-9a-f]{16}\b", "LEASE"),
    (r'"lease":\d+', "LEASE"),
    (r"remaining\(\d+s\)", "remaining"),
    (r'^\{"level".*$', "LOG"),
]


def said(output: str) -> str:
    for pattern, text in SCRATCHES:
        output = re.sub(pattern, text, output, flags=re.MULTILINE)
    return output


class Shell:
    """A side, as etcdctl sees it."""

    def __init__(self, port: int) -> None:
        self._environment = {**os.environ, "ETCDCTL_ENDPOINTS": f"http://127.0.0.1:{port}"}
        self._lease = ""

    async def run(self, line: str) -> str:
        """Return what a command says, and how it ends."""
        command, _, text = line.replace("{lease}", self._lease).partition(" << ")
        arguments = shlex.split(command)
        ends = not arguments[0].startswith(UNBOUNDED)
        with tempfile.TemporaryFile() as output:
            process = await asyncio.create_subprocess_exec(
                program("etcdctl"),
                *arguments,
                env=self._environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
            )
            try:
                async with asyncio.timeout(30 if ends else LOOK_SECONDS):
                    await process.communicate("\n".join(text.split("|")).encode() + b"\n")
            except TimeoutError:
                process.terminate()
                await process.wait()
            output.seek(0)
            content = output.read().decode()
        assert content or ends or "nobody" in line, "it has said nothing"
        if granted := re.search(r"lease ([0-9a-f]+) granted", content):
            self._lease = granted[1]
        return f"{said(content)}\nexit {process.returncode if ends else 'later'}"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("behind", ["model", "store"])
async def test_commands_say_the_same(tmp_path: Path, behind: str) -> None:
    program("etcdctl")
    async with real_etcd(tmp_path) as etcd, made(behind) as store, serving(store) as face:
        theirs, ours = Shell(etcd), Shell(face)
        for line in COMMANDS:
            expected, actual = await theirs.run(line), await ours.run(line)
            assert actual == expected, line
