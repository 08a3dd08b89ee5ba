"""A small cluster over real NFS mounts, every process of which is asked four times a second."""

import contextlib
import http.client
import json
import os
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tests.integration.places import MOUNTS
from tests.integration.programs import COMMANDS

T = TypeVar("T")

OVERSEER = "overseer"
KEY = "/v1/kv/never-deaf"
"""At a main, a read of it waits for the folder, until that is given up."""
_ASK_EVERY_SECONDS = 0.25
_MOST_SECONDS = 60.0
_PATHS: Mapping[str, tuple[str, ...]] = {
    "worker": ("/healthz", "/v1/status", "/metrics", KEY),
    OVERSEER: ("/healthz", "/readyz", "/metrics"),
}
"""What a process answers from memory: a backup redirects, or says 503 while there is no main."""


class Cluster:
    """Three workers, each on a mount of its own, and an overseer on the last mount."""

    def __init__(self, directory: Path) -> None:
        """Keep logs in ``directory``, and the folder in a new directory of the export."""
        self._directory, self._name = directory, f"never-deaf-{secrets.token_hex(4)}"
        (MOUNTS[-1] / self._name).mkdir(mode=0o700)
        self.workers = [f"w{number}" for number in range(3)]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Start a process on its mount."""
        number = -1 if name == OVERSEER else self.workers.index(name)
        own = {"PORT": "4000"}
        if name != OVERSEER:
            own = {"PORT": f"{3000 + number}", "LINK_PORT": f"{3500 + number}", "WORKER_ID": name}
            own["OVERSEER_IP"] = "http://127.0.0.1:4000"
        folder = {"COMMUNICATION_FOLDER": str(MOUNTS[number] / self._name), "HANAS_PRESET": "cloud"}
        others = {key: value for key, value in os.environ.items() if not key.startswith("HANAS_")}
        program = COMMANDS / ("hanas-overseer" if name == OVERSEER else "hanas-worker")
        with (self._directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen([program], env=others | folder | own, stdout=log, stderr=log)

    def kill(self) -> None:
        """End every process at once."""
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()

    @staticmethod
    def port(name: str) -> int:
        """The port that answers."""
        return 4000 if name == OVERSEER else 3000 + int(name[1:])

    def status(self, name: str) -> dict[str, Any]:
        """The status of a worker; empty if it does not answer."""
        try:
            code, content = ask(self.port(name), "GET", "/v1/status")
        except OSError:
            return {}
        return json.loads(content) if code == 200 else {}

    def main(self) -> str:
        """Wait for a main and that everybody else follows it."""

        def one_main() -> str | None:
            roles = {name: self.status(name).get("role") for name in self.workers}
            mains = [name for name, role in roles.items() if role == "main"]
            return mains[0] if len(mains) == 1 and set(roles.values()) == {"main", "backup"} else None

        return until(one_main, 120.0)

    def put(self, key: str, value: str, limit: float = 90.0) -> None:
        """Write until it is acknowledged."""
        until(lambda: any(self._put_at(name, key, value) for name in self.workers), limit)

    def _put_at(self, name: str, key: str, value: str) -> bool:
        try:
            return ask(self.port(name), "PUT", f"/v1/kv/{key}", value.encode())[0] in (200, 201, 204)
        except OSError:
            return False


def ask(port: int, method: str, path: str, body: bytes | None = None, timeout: float = 3.0) -> tuple[int, bytes]:
    """One request, no redirects. Raises OSError."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise OSError(f"no answer: {error!r}") from error
    finally:
        connection.close()


def until(look: Callable[[], T | None], limit: float) -> T:
    """Look until there is something."""
    end = time.monotonic() + limit
    while not (seen := look()):
        assert time.monotonic() < end, f"not within {limit:g} s"
        time.sleep(0.1)
    return seen


class Listener:
    """Asks a process for each of its paths, one after the other, and notes the longest silence of each."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.longest: dict[str, float] = {}
        self._port, self._halt = port, threading.Event()
        self._paths = _PATHS.get(name, _PATHS["worker"])
        self._threads = [threading.Thread(target=self._listen, args=(path,), daemon=True) for path in self._paths]
        for thread in self._threads:
            thread.start()

    def _listen(self, path: str) -> None:
        self.longest[path] = 0.0
        while not self._halt.is_set():
            asked = time.monotonic()
            with contextlib.suppress(OSError):
                ask(self._port, "GET", path, timeout=_MOST_SECONDS)
            self.longest[path] = max(self.longest[path], time.monotonic() - asked)
            self._halt.wait(_ASK_EVERY_SECONDS)

    def stop(self) -> None:
        """Wait for the last answers."""
        self._halt.set()
        for thread in self._threads:
            thread.join(_MOST_SECONDS)


@contextlib.contextmanager
def asked(cluster: Cluster, told: str) -> Iterator[dict[str, float]]:
    """Ask every process meanwhile; at the end the longest silence by path, seconds. All are printed as well."""
    listeners = [Listener(name, cluster.port(name)) for name in (OVERSEER, *cluster.workers)]
    longest: dict[str, float] = {}
    try:
        yield longest
    finally:
        for listener in listeners:
            listener.stop()
            for path, silence in listener.longest.items():
                longest[path] = max(longest.get(path, 0.0), silence)
        figures = {listener.name: {k: round(v, 2) for k, v in listener.longest.items()} for listener in listeners}
        print(f"longest silence, {told}: {json.dumps(figures)}", flush=True)
