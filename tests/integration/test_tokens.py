"""Bearer tokens: one kind for clients, and the secret of the components."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from tests.integration.cluster import Cluster, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKEN = {"Authorization": "Bearer first-token"}
SECRET = {"Authorization": "Bearer the-secret"}
WRONG = [
    {},
    {"Authorization": "Bearer wrong"},
    {"Authorization": "Bearer"},
    {"Authorization": "Basic first-token"},
    {"Authorization": "first-token"},
    {"Authorization": "Bearer first-token second-token"},
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """A cluster with two client tokens and a secret, used by those who hold the first token."""
    directory = tmp_path_factory.mktemp("lab")
    (directory / "tokens").write_text("first-token\nsecond-token\n")
    (directory / "secret").write_text("the-secret\n")
    with pytest.MonkeyPatch.context() as environment:
        # Lab and client read it from here, as a person's would.
        environment.setenv("HANAS_CLIENT_TOKEN_FILE", str(directory / "tokens"))
        environment.setenv("HANAS_SECRET_FILE", str(directory / "secret"))
        async with running(directory, 2) as cluster:
            yield cluster


def refusal(answer: httpx.Response) -> str:
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    detail: str = answer.json()["detail"]
    assert "Authorization: Bearer" in detail
    return detail


async def test_the_members_find_each_other_with_the_secret(guarded: Cluster) -> None:
    await guarded.settle()
    await guarded.client.put("hello", b"world")
    assert (await guarded.client.get("hello")).value == b"world"


@pytest.mark.parametrize("headers", WRONG, ids=lambda headers: headers.get("Authorization", "none"))
async def test_without_a_token(guarded: Cluster, headers: dict[str, str]) -> None:
    for name in guarded.names:
        url = guarded.kv(name, "guarded")
        for answer in (
            await guarded.http.get(url, headers=headers),
            await guarded.http.put(url, content=b"x", headers=headers),
            await guarded.http.delete(url, headers=headers),
            await guarded.http.get(guarded.url(name, "/v1/kv"), headers=headers),
            await guarded.http.get(guarded.url(name, "/v1/status"), headers=headers),
        ):
            refusal(answer)
            assert "location" not in answer.headers
            assert answer.headers["hanas-epoch"] == "1"
    for name in ("main", "pool", "cluster", "epochs", "takeovers", "alerts", "events"):
        refusal(await guarded.http.get(f"{guarded.lab.overseer_url}/v1/{name}", headers=headers))
    assert (await guarded.http.get(await guarded.main_kv("guarded"), headers=TOKEN)).status_code == 404


@pytest.mark.parametrize("token", ["Bearer first-token", "bearer second-token", "Bearer  first-token "])
async def test_each_token_of_the_file_opens(guarded: Cluster, token: str) -> None:
    headers = {"Authorization": token.strip()}
    assert (await guarded.http.get(await guarded.main_url("/v1/kv"), headers=headers)).status_code == 200
    assert (await guarded.http.get(await guarded.main_url("/v1/status"), headers=headers)).status_code == 200
    assert (await guarded.http.get(f"{guarded.lab.overseer_url}/v1/cluster", headers=headers)).status_code == 200


async def test_the_secret_reads_the_state_but_no_values(guarded: Cluster) -> None:
    assert (await guarded.http.get(await guarded.main_url("/v1/status"), headers=SECRET)).status_code == 200
    assert (await guarded.http.get(f"{guarded.lab.overseer_url}/v1/cluster", headers=SECRET)).status_code == 200
    refusal(await guarded.http.get(await guarded.main_url("/v1/kv"), headers=SECRET))


async def test_what_a_kubelet_and_prometheus_ask_is_open(guarded: Cluster) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert (await guarded.http.get(await guarded.main_url(path))).status_code == 200
        assert (await guarded.http.get(guarded.lab.overseer_url + path)).status_code == 200


async def test_only_components_may_decide(guarded: Cluster) -> None:
    for headers in (*WRONG, TOKEN):
        for path in ("/v1/claim", "/v1/takeover"):
            refusal(await guarded.http.post(guarded.lab.overseer_url + path, json={}, headers=headers))
    answer = await guarded.http.post(f"{guarded.lab.overseer_url}/v1/claim", json={}, headers=SECRET)
    assert answer.status_code == 400
    assert await guarded.epoch() == 1


async def test_only_components_may_send_keepalives(guarded: Cluster) -> None:
    ports = {worker["linkPort"] for worker in guarded.lab.status()["workers"]}
    for port in ports:
        url = f"http://127.0.0.1:{port}/v1/keepalive"
        for headers in (*WRONG, TOKEN):
            answer = await guarded.http.post(url, json={}, headers=headers)
            assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
            assert "HANAS_SECRET_FILE" in answer.json()["detail"]
        assert (await guarded.http.post(url, json={}, headers=SECRET)).status_code == 400
