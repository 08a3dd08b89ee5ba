"""What a client of etcd's API runs in the cluster, by the JSON gateway: it writes key after key, and watches them.

Every line of the standard output is a write that was acknowledged, an event of the watch, or, at last, a key that is
there. Argument: the URL. The file /tmp/stop ends it, when the watch has told the last write.
"""

import asyncio
import base64
import contextlib
import json
import os
import pathlib
import ssl
import sys
import time
from typing import Any

import httpx

PREFIX, BEHIND = "e2e/etcd/", "e2e/etcd0"
REST_SECONDS, AGAIN_SECONDS = 0.04, 0.05
PATIENCE_SECONDS = 10.0
"""A watch that is silent for longer is begun anew, where it was: somebody writes all the time."""
UNAVAILABLE, OUTCOME_UNKNOWN = 503, 14
"""How a call ends, and a watch, whose main has gone: as a status of HTTP, and as one of gRPC."""
STOP = pathlib.Path("/tmp/stop")


def encoded(key: str) -> str:
    """Return a key as the gateway takes it."""
    return base64.b64encode(key.encode()).decode()


def decoded(key: str) -> str:
    """Return a key that the gateway told."""
    return base64.b64decode(key).decode()


def tell(what: str, key: str, revision: int) -> None:
    """Write a line."""
    sys.stdout.write(json.dumps({"what": what, "key": key, "revision": revision, "at": time.time()}) + "\n")
    sys.stdout.flush()


class Client:
    """One program that uses the API."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._last = 0
        """The revision of the last write."""
        self._seen = asyncio.Event()
        """The watch has told all writes, and there are no more."""
        self._stopped = False

    async def call(self, method: str, request: dict[str, Any]) -> dict[str, Any]:
        """Return an answer; while there is none, ask again, as clients of etcd do."""
        while True:
            try:
                response = await self._http.post(f"/v3/kv/{method}", json=request)
            except httpx.TransportError:
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            if response.status_code != UNAVAILABLE:
                answer: dict[str, Any] = response.raise_for_status().json()
                return answer
            await asyncio.sleep(AGAIN_SECONDS)

    async def write(self) -> None:
        """Write key after key until told to stop, and read each."""
        number = 0
        while not STOP.exists():
            number += 1
            key = f"{PREFIX}{number:06}"
            answer = await self.call("put", {"key": encoded(key), "value": encoded(str(number))})
            self._last = int(answer["header"]["revision"])
            tell("written", key, self._last)
            (there,) = (await self.call("range", {"key": encoded(key)}))["kvs"]
            if int(there["mod_revision"]) < self._last or decoded(there["value"]) != str(number):
                raise AssertionError(f"{key} was read as {there} after its revision {self._last}")
            await asyncio.sleep(REST_SECONDS)
        self._stopped = True

    async def watch(self) -> None:
        """Tell each event; a watch that breaks is begun anew behind the last one."""
        revision = 1
        patience = httpx.Timeout(5.0, read=PATIENCE_SECONDS)
        while True:
            create = {"key": encoded(PREFIX), "range_end": encoded(BEHIND), "start_revision": str(revision)}
            request = {"create_request": create}
            with contextlib.suppress(httpx.TransportError):
                async with self._http.stream("POST", "/v3/watch", json=request, timeout=patience) as response:
                    async for line in response.aiter_lines():
                        message = json.loads(line)
                        if message.get("error", {}).get("code") == OUTCOME_UNKNOWN:
                            break
                        for event in message["result"].get("events", ()):
                            revision = int(event["kv"]["mod_revision"]) + 1
                            tell("event", decoded(event["kv"]["key"]), revision - 1)
                        if self._stopped and revision > self._last:
                            self._seen.set()
            await asyncio.sleep(AGAIN_SECONDS)

    async def run(self) -> None:
        """Write and watch; at last tell what is there."""
        watching = asyncio.create_task(self.watch())
        await self.write()
        # Its event comes behind those of all other writes.
        answer = await self.call("put", {"key": encoded(f"{PREFIX}last"), "value": ""})
        self._last = int(answer["header"]["revision"])
        await asyncio.wait({watching, asyncio.create_task(self._seen.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            watching.result()
        watching.cancel()
        everything = await self.call("range", {"key": encoded(PREFIX), "range_end": encoded(BEHIND)})
        for each in everything["kvs"]:
            tell("there", decoded(each["key"]), int(each["mod_revision"]))


async def main(url: str) -> None:
    """Use the API at this URL."""
    trust: ssl.SSLContext | bool = False
    if "HANAS_TLS_CA" in os.environ:
        trust = ssl.create_default_context(cafile=os.environ["HANAS_TLS_CA"])
        trust.load_cert_chain(os.environ["HANAS_TLS_CERT"], os.environ["HANAS_TLS_KEY"])
    async with httpx.AsyncClient(base_url=url, verify=trust, timeout=5.0, trust_env=False) as http:
        await Client(http).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
