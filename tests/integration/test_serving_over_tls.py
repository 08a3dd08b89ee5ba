"""Backups that serve, over mutual TLS and with rights: who asks is decided where it asks, and noted there."""

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from hanas_lab import Lab
from hanas_lab.identities import CLIENT
from tests.integration.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEB = {"Authorization": "Bearer web"}
CLIENTS = f"""principals:
- name: web
  tokens: ['{hashlib.sha256(b"web").hexdigest()}']
  grants: [{{prefix: web/, roles: [writer]}}]
- name: blind
  tokens: ['{hashlib.sha256(b"blind").hexdigest()}']
  grants: [{{prefix: web/, rights: [write]}}]
- name: everything
  certificates: ['CN=client']
  grants: [{{roles: [administrator, writer]}}]
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    directory = tmp_path_factory.mktemp("lab")
    (directory / "clients.yaml").write_text(CLIENTS)
    lab = Lab(
        directory,
        3,
        overseer_port=0,
        first_port=0,
        tls=True,
        patience=PATIENCE_SECONDS,
        environment={
            "HANAS_BACKUPS": "serve",
            "HANAS_PATIENCE": str(PATIENCE_SECONDS),
            "HANAS_CLIENTS_FILE": str(directory / "clients.yaml"),
            "HANAS_AUDIT": "writes",
        },
    )
    async with lab:
        yield lab


@pytest_asyncio.fixture(loop_scope="module")
async def http(lab: Lab) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(verify=calling(lab), trust_env=False, timeout=PATIENCE_SECONDS) as http:
        yield http


def calling(lab: Lab, name: str = CLIENT) -> Any:
    assert lab.identities is not None
    return lab.identities.calling(name)


async def main_and_backup(lab: Lab) -> tuple[str, str]:
    main = await eventually(lab.main)
    return main, next(name for name in lab.urls if name != main)


async def forwarded(lab: Lab, http: httpx.AsyncClient, name: str) -> int:
    """How many writes a worker has forwarded."""
    return int((await http.get(f"{lab.urls[name]}/v1/status")).json()["forwarding"]["writes"])


def audited(log: Path) -> set[tuple[str, str, str, str | None, int]]:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return {(line["audit"], line["principal"], line["action"], line.get("key"), line["status"]) for line in lines}


async def test_a_backup_forwards_what_its_client_may_do_and_nothing_else(lab: Lab, http: httpx.AsyncClient) -> None:
    main, backup = await main_and_backup(lab)
    key = f"{lab.urls[backup]}/v1/kv/web/1"
    created = await http.put(key, content=b"v", headers=WEB)
    assert created.status_code == 201
    for url in lab.urls.values():
        read = await http.get(f"{url}/v1/kv/web/1", headers=WEB)
        assert (read.status_code, read.content, read.headers["etag"]) == (200, b"v", created.headers["etag"])
    before = await forwarded(lab, http, backup)
    other = f"{lab.urls[backup]}/v1/kv/other"
    blind = {"Authorization": "Bearer blind", "If-None-Match": "*"}
    for denied in (
        await http.put(other, content=b"x", headers=WEB),
        await http.delete(other, headers=WEB),
        await http.get(other, headers=WEB),
        await http.get(f"{lab.urls[backup]}/v1/kv", params={"prefix": "other"}, headers=WEB),
        await http.put(key, content=b"x", headers=blind),
    ):
        assert denied.status_code == 403, denied.text
        assert "no right" in denied.json()["detail"]
    assert await forwarded(lab, http, backup) == before
    assert (await http.get(key, headers=WEB)).content == b"v"
    noted = audited(lab.log_of(backup))
    assert {
        ("write", "web", "write", "web/1", 201),
        ("denied", "web", "write", "other", 403),
        ("denied", "web", "delete", "other", 403),
        ("denied", "blind", "read", "web/1", 403),
    } <= noted
    assert not any(kind == "write" for kind, *_ in audited(lab.log_of(main))), "it is noted once, with the client"


async def test_idempotency_keys_are_the_clients_own_at_any_worker(lab: Lab, http: httpx.AsyncClient) -> None:
    main, backup = await main_and_backup(lab)
    once = {"Idempotency-Key": "of-both"}
    first = await http.put(f"{lab.urls[backup]}/v1/kv/web/2", content=b"1", headers=WEB | once)
    again = await http.put(f"{lab.urls[main]}/v1/kv/web/2", content=b"1", headers=WEB | once)
    other = await http.put(
        f"{lab.urls[backup]}/v1/kv/web/3", content=b"3", headers=once | {"Authorization": "Bearer blind"}
    )
    assert (first.status_code, again.headers["etag"], other.status_code) == (201, first.headers["etag"], 201)


async def test_only_a_member_with_its_own_certificate_opens_a_line(lab: Lab) -> None:
    ports = {worker["name"]: worker["linkPort"] for worker in lab.status()["workers"]}
    main, backup = await main_and_backup(lab)
    url = f"https://localhost:{ports[main]}/v1/forward"
    for certificate, member, status in (
        (CLIENT, CLIENT, 403),
        (CLIENT, backup, 403),
        (backup, main, 403),
        (backup, backup, 401),
    ):
        async with httpx.AsyncClient(verify=calling(lab, certificate), trust_env=False) as asking:
            headers = {"HANas-Member": member, "HANas-Nonce": "0" * 32, "HANas-Mac": "0" * 32}
            answer = await asking.get(url, headers=headers)
        assert answer.status_code == status, (certificate, member, answer.text)


async def test_a_takeover_is_a_pause_through_tls(lab: Lab, http: httpx.AsyncClient) -> None:
    main, backup = await main_and_backup(lab)
    key = f"{lab.urls[backup]}/v1/kv/web/4"
    assert (await http.put(key, content=b"before", headers=WEB)).status_code == 201
    await lab.kill(main)
    assert (await http.put(key, content=b"after", headers=WEB)).status_code == 204
    assert (await http.get(key, headers=WEB)).content == b"after"
    assert (await main_and_backup(lab))[0] != main
    await lab.start_worker(main)
