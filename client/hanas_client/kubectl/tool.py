"""The user's kubectl: it knows how to reach the API server and as whom, by any kind of login."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from hanas_client.errors import HanasError

Resource = dict[str, Any]
PROGRAM = "kubectl"
_ANSWER_SECONDS = 20
_FORWARDING = "Forwarding from 127.0.0.1:"
_NO_KIND = "the server doesn't have a resource type"


class Kubectl:
    """Calls of kubectl. Each raises HanasError with the words of kubectl or of the API server."""

    def __init__(self, options: Sequence[str]) -> None:
        """``options``: those that say which cluster and namespace."""
        program = shutil.which(PROGRAM)
        if program is None:
            raise HanasError(f"{PROGRAM} is not in PATH; this command needs it to reach the cluster")
        self._line = [program, *options]

    def get(self, kind: str, name: str) -> Resource:
        """Return an object."""
        return _decoded(self._call("get", kind, name, "--output=json"))

    def list(self, kind: str) -> list[Resource]:
        """Return all objects of a kind in the namespace."""
        items: list[Resource] = _decoded(self._call("get", kind, "--output=json"))["items"]
        return items

    def create(self, manifest: Resource) -> Resource:
        """Create an object and return it."""
        content = msgspec.json.encode(manifest).decode()
        return _decoded(self._call("create", "--filename=-", "--output=json", content=content))

    def annotate(self, kind: str, name: str, change: str) -> None:
        """Set an annotation of an object (``name=value``), or remove it (``name-``)."""
        self._call("annotate", "--overwrite", kind, name, change)

    def delete(self, kind: str, names: Sequence[str]) -> None:
        """Delete objects; those that are gone already are no error."""
        self._call("delete", "--ignore-not-found", "--wait=false", kind, *names)

    @contextlib.contextmanager
    def forward(self, target: str, port: int) -> Iterator[int]:
        """Forward a free port of this machine to a port of ``target`` meanwhile, and yield it."""
        line = [*self._line, "port-forward", "--address=127.0.0.1", "--pod-running-timeout=5s", target, f":{port}"]
        # kubectl waits for a connection as long as the network does.
        pipe = subprocess.PIPE
        with subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True) as process:
            limit = threading.Timer(_ANSWER_SECONDS, process.kill)
            limit.start()
            try:
                assert process.stdout is not None
                assert process.stderr is not None
                first = process.stdout.readline()
                limit.cancel()
                if not first.startswith(_FORWARDING):
                    words = _words(process.stderr.read()) or f"no answer within {_ANSWER_SECONDS} s"
                    raise HanasError(f"{target} cannot be reached: {words}")
                yield int(first.removeprefix(_FORWARDING).split()[0])
            finally:
                limit.cancel()
                process.terminate()

    def _call(self, *words: str, content: str | None = None) -> str:
        done = subprocess.run(
            [*self._line, f"--request-timeout={_ANSWER_SECONDS}s", *words],
            input=content,
            stdin=subprocess.DEVNULL if content is None else None,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return done.stdout
        said = _words(done.stderr) or f"{PROGRAM} {words[0]} ended with the exit code {done.returncode}"
        if _NO_KIND in said:
            said += "; the operator is not installed in this cluster, or an older one: helm install it first"
        raise HanasError(said)


def _decoded(output: str) -> Resource:
    try:
        document: Resource = msgspec.json.decode(output)
    except msgspec.DecodeError as error:
        raise HanasError(f"{PROGRAM} printed no JSON: {error}") from None
    return document


def _words(errors: str) -> str:
    """Return what kubectl said, in one line, without its prefix."""
    return " ".join(errors.split()).removeprefix("error: ").removeprefix("Error from server ")
