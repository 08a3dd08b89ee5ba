"""A Kubernetes that keeps its objects in a store under test: who writes to its API server, who watches, who lists.

The program HANAS_ETCD_KUBERNETES is a directory with the commands ``up --fresh --datastore URL[,URL]``, which starts a
Kubernetes of real programs on this machine with that store in etcd's place and prints ``KUBECONFIG=PATH`` last,
``selftest``, and ``down``. Its API server reaches the store at 198.18.0.1.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

MACHINE = "198.18.0.1"
"""The address of this machine, as the Kubernetes sees it."""
_NAMESPACE = "default"
_PATH = f"/api/v1/namespaces/{_NAMESPACE}/configmaps"
_LABEL = "hanas.dev/test"
_UPDATES = 4
"""Of each object, between its creation and its deletion."""
_REST_SECONDS = 0.02
_ANSWER_SECONDS = 20.0
_AS_IT_MAY_BE = frozenset({404, 409, 429})
"""What a write is answered that was done before, or asks again too soon."""
_INITIALISED = "apiserver_watch_cache_initializations_total"


class Commands:
    """The program that makes a Kubernetes."""

    def __init__(self) -> None:
        if not (directory := os.environ.get("HANAS_ETCD_KUBERNETES")):
            pytest.skip("HANAS_ETCD_KUBERNETES is not set: no program that makes a Kubernetes")
        self._directory = Path(directory)

    async def run(self, command: str, *arguments: str) -> str:
        """Return what a command prints; it must succeed."""
        process = await asyncio.create_subprocess_exec(
            self._directory / command,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said = (await process.communicate())[0].decode()
        assert process.returncode == 0, f"{command}: exit code {process.returncode}\n{said[-4000:]}"
        return said

    @asynccontextmanager
    async def kubernetes(self, stores: list[str]) -> AsyncIterator[Path]:
        """Run a Kubernetes on the stores at these URLs; its kubeconfig is returned."""
        try:
            said = await self.run("up", "--fresh", "--datastore", ",".join(stores))
            yield Path(said.strip().rpartition("KUBECONFIG=")[2].strip())
        finally:
            await self.run("down")


@asynccontextmanager
async def api_of(kubeconfig: Path, directory: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of an API server; ``directory``: for its certificates."""
    content = yaml.safe_load(kubeconfig.read_text())
    cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
    authority, certificate, key = (
        _file(part, kind, kubeconfig, directory)
        for part, kind in ((cluster, "certificate-authority"), (user, "client-certificate"), (user, "client-key"))
    )
    trust = ssl.create_default_context(cafile=authority)
    trust.load_cert_chain(certificate, key)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=cluster["server"], verify=trust, timeout=_ANSWER_SECONDS, limits=limits, trust_env=False
    ) as client:
        yield client


def _file(part: dict[str, str], kind: str, kubeconfig: Path, directory: Path) -> Path:
    """Return the file of a certificate or key, which a kubeconfig names or holds."""
    if kind in part:
        return kubeconfig.parent / part[kind]
    file = directory / kind
    file.write_bytes(base64.b64decode(part[f"{kind}-data"]))
    return file


async def caches_begun(api: httpx.AsyncClient) -> dict[str, float]:
    """Return how often the API server has listed each kind of object from the store."""
    lines = (await api.get("/metrics")).text.splitlines()
    found = [line.rpartition(" ") for line in lines if line.startswith(_INITIALISED)]
    return {name: float(count) for name, _, count in found}


class Writer:
    """Creates, updates and deletes objects one after the other; each is its own alone."""

    def __init__(self, api: httpx.AsyncClient, name: str) -> None:
        self._api, self._name = api, name
        self.histories: dict[str, list[tuple[str, int]]] = {}
        """Of each object the events that it must have: kind and resource version, 0 if that is not known."""
        self.live: dict[str, int] = {}
        """The resource versions of the objects that are there, and are not being deleted."""
        self.acknowledged: list[float] = []
        """When something was, monotonic seconds."""

    async def write_until(self, ending: asyncio.Event) -> None:
        """Write until ``ending``; what was begun is brought to its end."""
        for number in itertools.count():
            if ending.is_set():
                return
            name = f"{self._name}-{number}"
            history = self.histories[name] = []
            for step in range(_UPDATES + 1):
                version = await self._write(name, step, self.live.get(name))
                history.append(("MODIFIED" if step else "ADDED", version))
                self.live[name] = version
                await asyncio.sleep(_REST_SECONDS)
            del self.live[name]
            await self._delete(name)
            history.append(("DELETED", 0))

    async def _write(self, name: str, step: int, version: int | None) -> int:
        """Return the resource version with which the object has got the content of ``step``."""
        meta = {"name": name, "labels": {_LABEL: "true"}} | ({"resourceVersion": str(version)} if version else {})
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"step": str(step)}}
        while True:
            if version:
                answer = await self._ask("PUT", f"{_PATH}/{name}", json=body)
            else:
                answer = await self._ask("POST", _PATH, json=body)
            if answer is not None and answer.is_success:
                self.acknowledged.append(time.monotonic())
                return _version(answer.json())
            found = await self._find(name)  # nobody else writes it: it is as before, or as it should be
            if found is not None and found["data"]["step"] == str(step):
                return _version(found)
            assert (None if found is None else _version(found)) == version

    async def _delete(self, name: str) -> None:
        """Delete the object. At which resource version, the answer does not tell."""
        while True:
            answer = await self._ask("DELETE", f"{_PATH}/{name}")
            if answer is not None and answer.is_success:
                self.acknowledged.append(time.monotonic())
                return
            if await self._find(name) is None:
                return

    async def _find(self, name: str) -> Any:
        while True:
            answer = await self._ask("GET", f"{_PATH}/{name}")
            if answer is not None and answer.status_code in {200, 404}:
                return answer.json() if answer.is_success else None
            await asyncio.sleep(_REST_SECONDS)

    async def _ask(self, method: str, path: str, **more: Any) -> httpx.Response | None:
        """Return the answer; None if nobody knows what was done."""
        try:
            answer = await self._api.request(method, path, **more)
        except httpx.TransportError:
            return None
        assert answer.status_code < 400 or answer.status_code in {404, 409, 429} or answer.status_code >= 500, (
            answer.text
        )
        return answer


class Watcher:
    """Watches all objects of the writers from one resource version on, and never lists."""

    def __init__(self, api: httpx.AsyncClient, since: int) -> None:
        self._api = api
        self.histories: dict[str, list[tuple[str, int]]] = {}
        self.seen = since
        self.news = asyncio.Event()
        self.resumed = -1
        """How often the stream had to be opened anew."""

    async def watch(self) -> None:
        """Watch for ever."""
        while True:
            self.resumed += 1
            query = {"watch": "true", "labelSelector": _LABEL, "allowWatchBookmarks": "true"}
            with contextlib.suppress(httpx.TransportError):
                limits = httpx.Timeout(_ANSWER_SECONDS, read=None)
                stream = self._api.stream(
                    "GET", _PATH, params=query | {"resourceVersion": str(self.seen)}, timeout=limits
                )
                async with stream as answer:
                    async for line in answer.aiter_lines():
                        self._note(json.loads(line), answer.status_code)
            await asyncio.sleep(_REST_SECONDS)

    def _note(self, event: dict[str, Any], status: int) -> None:
        kind, thing = event.get("type"), event.get("object", event)
        if status >= 500 or (kind == "ERROR" and thing["code"] >= 500):
            return  # it is opened again
        assert kind in {"ADDED", "MODIFIED", "DELETED", "BOOKMARK"}, f"this watch would have to list anew: {event}"
        version = _version(thing)
        assert version > self.seen or (kind == "BOOKMARK" and version == self.seen), "an event came again, or too late"
        self.seen = version
        if kind != "BOOKMARK":
            self.histories.setdefault(thing["metadata"]["name"], []).append((kind, version))
        self.news.set()

    async def until(self, version: int) -> None:
        """Wait until it has been told everything up to a resource version."""
        while self.seen < version:
            self.news.clear()
            await self.news.wait()


async def list_for_ever(api: httpx.AsyncClient, writers: list[Writer], lists: list[int]) -> None:
    """List all objects again and again; each list must hold all that was acknowledged before it began."""
    while True:
        before = {name: version for writer in writers for name, version in writer.live.items()}
        with contextlib.suppress(httpx.TransportError):
            answer = await api.get(_PATH, params={"labelSelector": _LABEL})
            if answer.is_success:
                content = answer.json()
                assert int(content["metadata"]["resourceVersion"]) >= max(before.values(), default=0)
                there = {item["metadata"]["name"]: _version(item) for item in content["items"]}
                now = {name: version for writer in writers for name, version in writer.live.items()}
                stale = {n: v for n, v in before.items() if now.get(n) == v and there.get(n, 0) < v}
                assert not stale, f"{stale} was acknowledged before this list began: {there}"
                lists.append(len(there))
        await asyncio.sleep(_REST_SECONDS)


def _version(thing: dict[str, Any]) -> int:
    return int(thing["metadata"]["resourceVersion"])
