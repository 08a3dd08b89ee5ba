"""Clients with rights of their own, on real processes: at the main, at a backup, at the overseer, and in the client."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from hanas_client import AsyncClient
from hanas_client.errors import Refused
from tests.integration.cluster import Cluster, running
from tests.integration.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

GRANTS = {
    "web": "[{prefix: web/, roles: [writer]}]",
    "eye": "[{rights: [observe]}, {rights: [list, read]}]",
    "boss": "[{roles: [administrator]}]",
}


def text(grants: dict[str, str]) -> str:
    """A file of clients whose tokens are their names."""
    lines = ["principals:"]
    for name, granted in grants.items():
        digest = hashlib.sha256(name.encode()).hexdigest()
        lines += [f"- name: {name}", f"  tokens: ['{digest}']", f"  grants: {granted}"]
    return "\n".join(lines)


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    directory = tmp_path_factory.mktemp("lab")
    (directory / "clients.yaml").write_text(text(GRANTS))
    (directory / "secret").write_text("the-secret\n")
    (directory / "eye").write_text("eye\n")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HANAS_CLIENT_TOKEN_FILE", str(directory / "eye"))  # of the tests' own client
        async with running(
            directory,
            2,
            HANAS_CLIENT_TOKEN_FILE="",
            HANAS_CLIENTS_FILE=str(directory / "clients.yaml"),
            HANAS_SECRET_FILE=str(directory / "secret"),
            HANAS_AUDIT="writes",
        ) as cluster:
            yield cluster


async def test_a_client_with_a_part_of_the_keys(guarded: Cluster) -> None:
    lab = guarded.lab
    async with AsyncClient(lab.overseer_url, list(lab.urls.values()), token="web") as web:
        written = await web.put("web/1", b"v")
        await web.put("web/1", b"w", if_match=written.version)
        assert (await web.get("web/1")).value == b"w"
        assert [entry.key async for entry in web.list()] == ["web/1"]
        for call in (web.get("other"), web.put("other", b"x"), web.delete("other"), web.cluster()):
            with pytest.raises(Refused, match="web has no right") as refused:
                await call
            assert refused.value.status == 403
    assert (await guarded.client.get("web/1")).value == b"w"


async def test_every_worker_decides_alike(guarded: Cluster) -> None:
    for name in guarded.names:
        for path, who, status in (
            ("/v1/kv/other", "web", 403),
            ("/v1/kv/other?consistency=stale", "web", 403),
            ("/v1/kv?prefix=other", "web", 403),
            ("/v1/kv?consistency=stale", "web", 200),
            ("/v1/status", "web", 403),
            ("/v1/status", "eye", 200),
            ("/v1/kv/other?consistency=stale", "boss", 403),
            ("/v1/kv/other?consistency=stale", "nobody", 401),
        ):
            answer = await guarded.http.get(guarded.url(name, path), headers=bearer(who))
            assert answer.status_code == status, (name, path, who)
        denied = await guarded.http.put(guarded.kv(name, "other"), content=b"x", headers=bearer("eye"))
        assert (denied.status_code, "location" in denied.headers) == (403, False)


async def test_who_may_administer(guarded: Cluster) -> None:
    url = await guarded.main_url("/v1/switchover")
    for who, status in (("web", 403), ("nobody", 401), ("boss", 404)):
        answer = await guarded.http.post(url, json={"to": "no-such-worker"}, headers=bearer(who))
        assert answer.status_code == status
    forget = f"{guarded.lab.overseer_url}/v1/pool/no-such-worker"
    assert (await guarded.http.delete(forget, headers=bearer("web"))).status_code == 403
    assert (await guarded.http.delete(forget, headers=bearer("boss"))).status_code == 404


async def test_what_the_audit_log_has(guarded: Cluster) -> None:
    log = guarded.lab.log_of(await guarded.main()).read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    kinds = {(line["audit"], line["principal"], line["action"], line.get("key"), line["status"]) for line in lines}
    assert ("write", "web", "write", "web/1", 201) in kinds
    assert ("denied", "web", "read", "other", 403) in kinds
    assert ("denied", "anonymous", "read", "other", 401) in kinds
    assert [line["about"] for line in lines if line["audit"] == "admin"] == ["no-such-worker"]
    assert not any(secret in log for secret in ("the-secret", "Bearer"))


async def test_a_changed_file_is_in_force_and_a_wrong_one_is_told(guarded: Cluster, tmp_path: Path) -> None:
    path = guarded.lab.directory / "clients.yaml"

    def become(content: str) -> None:
        path.with_suffix(".new").write_text(content)
        path.with_suffix(".new").replace(path)

    async def statuses(who: str, path: str) -> set[int]:
        answers = [guarded.http.get(guarded.url(name, path), headers=bearer(who)) for name in guarded.names]
        return {answer.status_code for answer in await asyncio.gather(*answers)}

    stale = "/v1/kv?prefix=new/&consistency=stale"
    become(text(GRANTS | {"web": "[{prefix: new/, roles: [writer]}]"}))

    async def changed() -> bool:
        return await statuses("web", stale) == {200}

    await eventually(changed)
    become(text(GRANTS | {"web": "[{prefix: new/, roles: [wizard]}]"}))

    async def told() -> bool:
        alerts = [alert for alert in await guarded.client.alerts() if "there is no role 'wizard'" in alert.message]
        return len(alerts) == 3 and "line 4: principals[0].grants[0].roles[0]" in alerts[0].message

    await eventually(told)
    assert await statuses("web", stale) == {200}
    become(text(GRANTS))

    async def back() -> bool:
        return await statuses("web", stale) == {403} and not await guarded.client.alerts()

    await eventually(back)
