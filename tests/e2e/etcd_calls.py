"""Single calls of etcd's API, by the JSON gateway of the main, made inside its pod."""

import base64
import json
from dataclasses import dataclass
from typing import Any

from tests.e2e.hanas import HANas
from tests.e2e.kubectl import Resource

_POST = """
import json, sys, urllib.request
path, body, events = sys.argv[1:]
left = int(events)
headers = {"Content-Type": "application/json"}
request = urllib.request.Request("http://localhost:2379/v3/" + path, body.encode(), headers)
with urllib.request.urlopen(request, timeout=20) as answer:
    for line in answer:
        print(line.decode())
        left -= len(json.loads(line).get("result", {}).get("events", ()))
        if left <= 0:
            break
"""


def text(encoded: str) -> str:
    """Return bytes that the gateway told as text."""
    return base64.b64decode(encoded).decode()


def encoded(key: str) -> str:
    """Return text as the gateway takes bytes."""
    return base64.b64encode(key.encode()).decode()


@dataclass(frozen=True)
class Key:
    """What is told of a key."""

    value: bytes
    create: int
    mod: int


@dataclass(frozen=True)
class EtcdCalls:
    """etcd's API of a HANas."""

    demo: HANas

    def call(self, path: str, **request: Any) -> Resource:
        """Return an answer."""
        (answer,) = self._lines(path, request)
        return answer

    def _lines(self, path: str, request: Resource, events: int = 0) -> list[Resource]:
        """Return what is answered; of a stream, what comes until it has told so many events."""
        words = (path, json.dumps(request), str(events))
        pod = self.demo.pod(self.demo.status["main"])
        told = self.demo.kubectl("exec", pod, "--", "python", "-c", _POST, *words)
        return [json.loads(line) for line in told.splitlines() if line]

    def below(self, prefix: str, revision: int = 0) -> dict[str, Key]:
        """Return the keys that begin with ``prefix``, as of a revision (0: the present one)."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        answer = self.call("kv/range", key=encoded(prefix), range_end=encoded(end), revision=str(revision))
        return {
            text(one["key"]): Key(
                base64.b64decode(one.get("value", "")), int(one["create_revision"]), int(one["mod_revision"])
            )
            for one in answer.get("kvs", ())
        }

    def revision(self) -> int:
        """Return the present revision."""
        return int(self.call("kv/range", key=encoded("no such key"))["header"]["revision"])

    def put_if(self, key: str, mod: int, value: str, lease: str = "0") -> bool:
        """Write a key if its mod revision is ``mod``; return whether it was."""
        compare = {"key": encoded(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(mod)}
        put = {"request_put": {"key": encoded(key), "value": encoded(value), "lease": lease}}
        return bool(self.call("kv/txn", compare=[compare], success=[put]).get("succeeded", False))

    def events(self, key: str, since: int, count: int) -> list[tuple[str, str]]:
        """Watch a key from a revision on; return the first events: ("PUT" or "DELETE", the value)."""
        create = {"create_request": {"key": encoded(key), "start_revision": str(since)}}
        created, *answers = self._lines("watch", create, count)
        assert created["result"]["created"]
        told = [event for answer in answers for event in answer["result"].get("events", ())]
        return [(event.get("type", "PUT"), text(event["kv"].get("value", ""))) for event in told]
