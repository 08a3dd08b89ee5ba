"""Bearer tokens: one kind for clients, and the secret of the components."""

import os
import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio

from hanas_serving.refusals import MOST_FAILURES
from tests.integration.cluster import Cluster, running
from tests.integration.places import PATIENT
from tests.integration.waiting import eventually
from tests.integration.wire import exchange

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
        async with running(directory, 2, None, **PATIENT) as cluster:
            yield cluster


def refusal(answer: httpx.Response) -> str:
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    detail: str = answer.json()["detail"]
    assert "Authorization: Bearer" in detail
    return detail


def chunks(path: str, method: str, *trailers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Content-Type: application/json", "Transfer-Encoding: chunked"]
    return "\r\n".join([*lines, "", "2", "{}", "0", *trailers, "", ""]).encode()


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


@pytest.mark.parametrize("token", ["first-token", "the-secret"])
async def test_a_token_in_a_trailer_opens_nothing(guarded: Cluster, token: str) -> None:
    trailer = f"Authorization: Bearer {token}"
    ports = [worker["linkPort"] for worker in guarded.lab.status()["workers"]]
    for base, path, method in (
        (await guarded.main_url(), "/v1/kv/trailer", "PUT"),
        (await guarded.main_url(), "/v1/status", "GET"),
        (guarded.lab.overseer_url, "/v1/claim", "POST"),
        (guarded.lab.overseer_url, "/v1/main", "GET"),
        (f"http://127.0.0.1:{ports[0]}", "/v1/keepalive", "POST"),
    ):
        assert (await exchange(base, chunks(path, method, trailer))).status == 401
    assert (await guarded.http.get(await guarded.main_kv("trailer"), headers=TOKEN)).status_code == 404


async def test_a_client_that_drops_its_token_on_a_redirect_is_told_so(guarded: Cluster) -> None:
    """As curl --location and httpx do: the main is another host to them."""
    url = guarded.kv(await guarded.a_backup(), "dropped")
    answer = await guarded.http.put(url, content=b"x", headers=TOKEN, follow_redirects=True)
    assert answer.history[0].status_code == 307
    assert "authorization" not in answer.request.headers
    detail = refusal(answer)
    assert "a client that was redirected may have dropped it" in detail.lower()
    assert "--location-trusted" in detail
    wrong = await guarded.http.put(url, content=b"x", headers={"Authorization": "Bearer wrong"})
    assert "redirect" not in refusal(wrong)


def again(file: str, content: str) -> None:
    """Replace a file of the environment in one step."""
    path = Path(os.environ[file])
    path.with_suffix(".new").write_text(content)
    path.with_suffix(".new").replace(path)


async def test_a_changed_file_of_tokens_is_in_force_without_a_restart(guarded: Cluster) -> None:
    places = [*(guarded.url(name, "/v1/status") for name in guarded.names), f"{guarded.lab.overseer_url}/v1/main"]

    async def until(token: str, *statuses: int) -> None:
        async def so() -> bool:
            headers = {"Authorization": f"Bearer {token}"}
            return all([(await guarded.http.get(place, headers=headers)).status_code in statuses for place in places])

        await eventually(so)

    async def troubled() -> bool:
        own = [(await guarded.status(name))["alerts"] for name in guarded.names]
        told = [alert for alert in await guarded.client.alerts() if "had before" in alert.message]
        return all(any("is empty" in alert["message"] for alert in alerts) for alerts in own) and len(told) == 3

    async def calm() -> bool:
        return not [alert for alert in await guarded.client.alerts() if "had before" in alert.message]

    async with guarded.http.stream("GET", f"{guarded.lab.overseer_url}/v1/events", headers=TOKEN) as stream:
        again("HANAS_CLIENT_TOKEN_FILE", "first-token\nthird-token\n")
        await until("third-token", 200)
        await until("second-token", 401, 429)
        async for _ in stream.aiter_bytes():  # ends: who opened it may have no token any more
            pass
    again("HANAS_CLIENT_TOKEN_FILE", "\n")
    await eventually(troubled)
    await until("third-token", 200)
    again("HANAS_CLIENT_TOKEN_FILE", "first-token\nsecond-token\n")
    await until("second-token", 200)
    await eventually(calm)


@pytest.mark.long
async def test_the_secret_is_changed_in_three_steps_without_a_restart(guarded: Cluster) -> None:
    await guarded.settle()
    epoch = await guarded.epoch()
    logs = [*(guarded.lab.log_of(name) for name in guarded.names), guarded.lab.log_of("overseer")]

    async def known(times: int) -> bool:
        return all(log.read_text().count("HANAS_SECRET_FILE: the file has changed") == times for log in logs)

    for number, content in enumerate(("the-secret\nother\n", "other\nthe-secret\n", "other\n"), 1):
        again("HANAS_SECRET_FILE", content)
        await eventually(partial(known, number))
    answer = await guarded.http.post(f"{guarded.lab.overseer_url}/v1/claim", json={}, headers=SECRET)
    assert answer.status_code in {401, 429}
    await guarded.settle()
    again("HANAS_SECRET_FILE", "the-secret\n")
    await eventually(partial(known, 4))
    answer = await guarded.http.post(f"{guarded.lab.overseer_url}/v1/claim", json={}, headers=SECRET)
    assert answer.status_code == 400
    await guarded.settle()
    assert await guarded.epoch() == epoch


async def test_who_guesses_tokens_has_to_wait_and_those_who_have_one_do_not(guarded: Cluster) -> None:
    """The last one: from then on this machine has to wait."""
    [port, *_] = [worker["linkPort"] for worker in guarded.lab.status()["workers"]]
    epoch = await guarded.epoch()
    for url in (
        await guarded.main_kv("guess"),
        f"{guarded.lab.overseer_url}/v1/main",
        f"http://127.0.0.1:{port}/v1/lifeline",
    ):
        answer, tries = await guarded.http.get(url), 0
        while answer.status_code == 401:  # the minute of the tests above may end meanwhile
            assert tries < 2 * MOST_FAILURES
            answer = await guarded.http.get(url, headers={"Authorization": f"Bearer {tries}"})
            tries += 1
        assert (answer.status_code, answer.headers["content-type"]) == (429, "application/problem+json")
        assert 0 < int(answer.headers["retry-after"]) <= 61
        answer = await guarded.http.get(url, headers=TOKEN if "kv" in url else SECRET)
        assert answer.status_code in {200, 404} or "is for the members of this folder" in answer.json()["detail"]
    assert (await guarded.client.put("guess", b"x")).version
    main = urlsplit(await guarded.main_url())
    metrics = (await guarded.http.get(f"http://{main.netloc}/metrics")).text
    assert re.search(r'hanas_http_errors_total\{status="429"\} \d', metrics)
    log = guarded.lab.log_of(await guarded.main()).read_text()
    assert 1 <= log.count("WARNING answered 401 Unauthorized") <= 3
    assert "the-secret" not in log
    assert "first-token" not in log
    assert await guarded.epoch() == epoch
