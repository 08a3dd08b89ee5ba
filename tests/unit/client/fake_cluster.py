"""Small servers on the loopback interface that speak as much of the API as the client's tests need."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


class FakeCluster(ThreadingHTTPServer):
    """A main and an overseer in one server; `broken` and `no_main` make it refuse."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.values: dict[str, tuple[bytes, str, str]] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.sequence = 0
        self.leases: dict[int, int] = {}
        """Ids and seconds to live."""
        self.attached: dict[str, int] = {}
        self.refusals = 0
        self.refuses: dict[str, int] = {}
        """Status of the answer to all calls for keys, by method."""
        self.main = "worker-1"
        self.switchovers: list[int] = []
        """Status of the answer to each switchover in turn; then and after 202, also after 0 (none), it is done."""
        self.drops = False
        """Writes are done, and the connection breaks off instead of an answer."""
        self.recorded: list[tuple[str, str, bytes]] = []
        """Transactions and calls about leases: method, path and body."""
        self.leases = {"id": 7, "ttl": 30, "remaining": 29, "keys": ["a\nb"]}
        self.watches: list[bytes | int | None] = []
        """Streams of changes in turn: what is told, the status of a refusal, or None: nothing until the end."""
        self.watch_headers = {"Content-Type": "application/x-ndjson", "HANas-Revision": "2"}
        self.events = [("1", "cluster", self.cluster())]

    def cluster(self) -> dict[str, object]:
        main = {"member": "worker-1", "incarnation": "i1", "advertiseUrl": self.url, "state": "serving"}
        member = {**main, "role": "main", "alive": True, "verdict": "Healthy", "lagBytes": 0, "brandNew": [1]}
        takeover = {
            "epoch": 3,
            "member": "worker-1",
            "previousMain": "worker-2",
            "why": "failure",
            "verdict": "PrimaryFailed",
            "words": "no answer to the probe",
            "evidence": {"probe": {"sent": 1.5}},
            "claimedAt": "2026-01-01T00:00:00Z",
        }
        link = {"from": "worker-1", "to": "worker-2", "state": "failed", "sinceSeconds": 3.2}
        alert = {
            "id": "a1", "severity": "notice", "kind": "LinkFailed", "message": "link failed", "advice": "look at it"
        }  # fmt: skip
        return {
            "epoch": 3,
            "folderId": "f",
            "main": main,
            "members": [member],
            "links": [link],
            "takeovers": [takeover],
            "alerts": [alert],
        }


@contextlib.contextmanager
def running() -> Iterator[FakeCluster]:
    cluster = FakeCluster()
    thread = threading.Thread(target=cluster.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield cluster
    finally:
        cluster.shutdown()
        thread.join()
        cluster.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeCluster

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def problem(self, status: int, title: str, detail: str, **headers: str) -> None:
        document = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        self.answer(status, json.dumps(document).encode(), Content_Type="application/problem+json", **headers)

    def handle_call(self) -> None:
        cluster = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        cluster.requests.append((self.command, self.path, headers))
        split = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(split.query).items()}
        if split.path.startswith("/v1/kv") and cluster.refusals:
            cluster.refusals -= 1
            self.problem(503, "No main", "an epoch begins", Retry_After="1")
        elif split.path.startswith("/v1/kv") and self.command in cluster.refuses:
            self.problem(cluster.refuses[self.command], "Refused", "it was told to")
        elif split.path.startswith("/v1/kv/"):
            self.one_key(unquote(split.path.removeprefix("/v1/kv/")), body, headers)
        elif split.path == "/v1/kv":
            self.keys(query)
        elif split.path == "/v1/txn" or split.path.startswith("/v1/leases"):
            self.record(body)
        elif split.path == "/v1/watch":
            self.changes(self.server.watches.pop(0))
        elif split.path == "/v1/switchover":
            self.switch_over(json.loads(body)["to"])
        elif split.path == "/v1/leases":
            self.grant(**json.loads(body))
        elif split.path == "/v1/events":
            self.stream(int(headers.get("last-event-id", "0")))
        else:
            self.document(split.path)

    do_GET = do_PUT = do_DELETE = do_POST = handle_call  # noqa: N815

    def record(self, body: bytes) -> None:
        self.server.recorded.append((self.command, self.path, body))
        if self.path == "/v1/txn":
            document: dict[str, object] = {"succeeded": True, "results": [{"put": {}}], "revision": 3, "new": 1}
            return self.answer(200, json.dumps(document).encode())
        if self.path not in {"/v1/leases", "/v1/leases/7", "/v1/leases/7/keepalive"}:
            return self.problem(404, "Not found", "no such lease")
        if self.command == "DELETE":
            return self.answer(204)
        return self.answer(200, json.dumps(self.server.leases).encode())

    def changes(self, stream: bytes | int | None) -> None:
        if isinstance(stream, int):
            document = {"title": "Refused", "status": stream, "detail": "it was told to", "compacted": 8}
            return self.answer(stream, json.dumps(document).encode(), Content_Type="application/problem+json")
        self.send_response(200)
        for name, value in self.server.watch_headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        self.wfile.write(stream or b"")
        if stream is None:
            self.rfile.read(1)
        return None

    def switch_over(self, to: str) -> None:
        status = self.server.switchovers.pop(0) if self.server.switchovers else 202
        if self.server.main == to:
            return self.problem(409, "Conflict", f"{to} is the main already")
        if status in {0, 202}:
            self.server.main = to
        if status == 0:
            self.close_connection = True
            return None
        if status == 202:
            return self.answer(202, json.dumps({"epoch": 3, "to": to}).encode())
        return self.problem(status, "Refused", "it was told to")

    def grant(self, id: int, ttl: int) -> None:  # noqa: A002 - the field of the body
        if self.server.refuses.get("grant"):
            return self.problem(self.server.refuses["grant"], "Refused", "it was told to")
        if id in self.server.leases:
            return self.problem(409, "Conflict", "there is a lease with this id")
        self.server.leases[id] = ttl
        return self.answer(201, json.dumps({"id": id, "ttl": ttl}).encode())

    def one_key(self, key: str, body: bytes, headers: dict[str, str]) -> None:
        values = self.server.values
        old = values.get(key)
        match = headers.get("if-match")
        if match is not None and (old is None or match != f'"{old[1]}"'):
            return self.problem(412, "Precondition failed", "the version is another one")
        if headers.get("if-none-match") == "*" and old is not None:
            return self.problem(412, "Precondition failed", "the key is there")
        if self.command == "PUT":
            lease = int(headers.get("hanas-lease", "0"))
            if lease and lease not in self.server.leases:
                return self.problem(404, "Not found", "no such lease")
            self.server.attached[key] = lease
            self.server.sequence += 1
            version = f"3-{self.server.sequence}"
            values[key] = (body, version, headers.get("content-type", "application/octet-stream"))
            if self.server.drops:
                self.close_connection = True
                return None
            return self.answer(204 if old else 201, ETag=f'"{version}"')
        if old is None:
            return self.problem(404, "Not found", "no such key")
        if self.command == "DELETE":
            del values[key]
            return self.answer(204)
        return self.answer(200, old[0], ETag=f'"{old[1]}"', Content_Type=old[2])

    def keys(self, query: dict[str, str]) -> None:
        limit = min(int(query.get("limit", "1000")), 3)  # small pages, to see several
        prefix, after = query.get("prefix", ""), query.get("after", "")
        names = sorted(key for key in self.server.values if key.startswith(prefix) and key > after)
        page = [
            {"key": key, "version": self.server.values[key][1], "size": len(self.server.values[key][0])}
            for key in names[:limit]
        ]
        following = names[limit - 1] if len(names) > limit else None
        self.answer(200, json.dumps({"keys": page, "next": following}).encode())

    def document(self, path: str) -> None:
        cluster = self.server.cluster()
        documents: dict[str, object] = {
            "/v1/main": {"epoch": 3, "main": cluster["main"]},
            "/v1/pool": {"members": cluster["members"]},
            "/v1/cluster": cluster,
            "/v1/takeovers": {"takeovers": cluster["takeovers"]},
            "/v1/alerts": {"alerts": cluster["alerts"]},
            "/v1/status": {"role": "main", "epoch": 3, "member": self.server.main},
            "/mainz": {},
        }
        if path not in documents:
            return self.problem(404, "Not found", "no such path")
        return self.answer(200, json.dumps(documents[path]).encode())

    def stream(self, after: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for number, name, document in self.server.events:
            if int(number) > after:
                self.wfile.write(f": beat\nid: {number}\nevent: {name}\ndata: {json.dumps(document)}\n\n".encode())
