"""Writes to a cluster, reads, checks that a backup redirects. Arguments: its name, seconds to wait until it serves."""

import http.client
import json
import sys
import time
import uuid
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")


def say(words: str) -> None:
    """Write a line at once."""
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


def call(url: str, method: str = "GET", body: bytes | None = None) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Return (status, headers, body) of one request; a redirect is not followed."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
    try:
        path = f"{address.path}?{address.query}" if address.query else address.path
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def eventually(what: str, deadline: float, condition: Callable[[], T | None]) -> T:
    """Return the first true answer of condition; end the program if there is none in time."""
    told = ""
    while True:
        try:
            found = condition()
            if found:
                return found
            state = "not yet"
        except (OSError, http.client.HTTPException, ValueError) as error:
            state = str(error) or type(error).__name__
        if state != told:
            told = state
            say(f"waiting for {what}: {state}")
        if time.monotonic() > deadline:
            sys.exit(f"FAILED: {what}: {state}")
        time.sleep(1)


def check(what: str, got: object, wanted: object) -> None:
    """End the program unless got is wanted."""
    if got != wanted:
        sys.exit(f"FAILED: {what}: {got!r} instead of {wanted!r}")
    say(f"ok: {what}")


def main(cluster: str, patience: float) -> None:
    """Run all checks."""
    deadline = time.monotonic() + patience
    everyone, main_only = f"http://{cluster}:3001", f"http://{cluster}-main:3001"
    overseer = f"http://{cluster}-overseer:4000"
    key = f"/v1/kv/helm-test/{uuid.uuid4().hex}"

    def pool() -> tuple[str, str] | None:
        members = json.loads(call(f"{overseer}/v1/pool")[2])["members"]
        mains = [member["advertiseUrl"] for member in members if member["alive"] and member["role"] == "main"]
        backups = [member["advertiseUrl"] for member in members if member["alive"] and member["role"] == "backup"]
        return (mains[0], backups[0]) if mains and backups else None

    main_url, backup_url = eventually("a main and a backup", deadline, pool)
    eventually("the Service of all workers", deadline, lambda: call(f"{everyone}/readyz")[0] == 200)
    eventually("the Service of the main", deadline, lambda: call(f"{main_only}/v1/kv?limit=1")[0] == 200)

    check("a write through the Service of the main", call(main_only + key, "PUT", b"hello")[0], 201)
    check("a read through it", call(main_only + key)[2], b"hello")
    status, headers, _ = call(backup_url + key)
    check("a backup redirects", (status, headers.get("Location")), (307, main_url + key))
    check("a read where it redirects to", call(headers["Location"])[2], b"hello")
    check("a backup's own copy", eventually("the copy", deadline, lambda: copy(backup_url + key)), b"hello")
    check("a deletion", call(main_only + key, "DELETE")[0], 204)
    check("a read of what is gone", call(main_only + key)[0], 404)


def copy(url: str) -> bytes | None:
    """Return what a worker itself has, None if it has nothing yet."""
    status, _, body = call(url + "?consistency=stale")
    return body if status == 200 else None


main(sys.argv[1], float(sys.argv[2]))
