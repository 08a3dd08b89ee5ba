"""Breaking the server, and the ways to it."""

import os
import shlex
import subprocess

_COMMAND = shlex.split(os.environ.get("HANAS_NFS_FAULT", "nfs-fault"))


def fault(*words: object) -> None:
    """Do something to the server or to a client's way to it; `bench.faults.export` lists the verbs."""
    done = subprocess.run([*_COMMAND, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
