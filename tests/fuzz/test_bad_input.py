"""Bad input at every endpoint of a main, a backup and an overseer: all of it is answered, and nothing is lost by it.

`make test` plays a few examples of each; `make fuzz` as many as EXAMPLES says.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.facts import KEPT, STRANGERS, Acknowledged, Facts
from tests.fuzz.malformed import Rough, answers, requests, what_is_wrong
from tests.fuzz.played import Target, play
from tests.integration.cluster import Cluster, running
from tests.integration.places import PATIENT
from tests.integration.waiting import eventually

EXAMPLES = int(os.environ.get("HANAS_FUZZ_EXAMPLES", "3"))
SEED = int(os.environ.get("HANAS_FUZZ_SEED", "0"))
NAMES = ["main", "backup", "link", "overseer"]
TOKEN, SECRET = "a-token", "the-secret"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60 + 20 * EXAMPLES)]

_STREAM = ("--exclude-path=/v1/watch",)
"""An answer that never ends is nothing for schemathesis."""


class Fuzzed:
    """A cluster that is fuzzed, and a client that writes beside it all the time."""

    def __init__(self, cluster: Cluster, facts: Facts) -> None:
        self.cluster = cluster
        self.facts = facts
        self.kept: dict[str, str] = {}
        self._writing: asyncio.Task[None] | None = None

    @property
    def backup(self) -> str:
        return next(name for name in self.cluster.names if name != self.facts.main)

    def target(self, name: str) -> Target:
        """What is played against a port."""
        if name == "overseer":
            return Target("overseer", self.cluster.lab.overseer_url, SECRET, ("--exclude-path=/v1/events",))
        if name == "link":
            workers = {worker["name"]: worker for worker in self.cluster.lab.status()["workers"]}
            url = f"http://127.0.0.1:{workers[self.backup]['linkPort']}"
            return Target("link", url, SECRET, ("--exclude-checks=unsupported_method",))  # 404 there
        if name == "backup":
            # Most of its answers are redirects; the many edge cases are played against it by `make fuzz` only.
            return Target(
                "worker",
                self.cluster.url(self.backup),
                TOKEN,
                (*_STREAM, *(() if EXAMPLES > 9 else ("--phases=fuzzing",))),
            )
        return Target("worker", self.cluster.url(self.facts.main), TOKEN, _STREAM)

    def begin(self) -> None:
        """Write from now on."""
        self._writing = asyncio.create_task(self._write())

    async def end(self) -> None:
        """Write no more."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    async def _write(self) -> None:
        number = 0
        while True:
            number += 1
            key, value = f"{KEPT}{number:06}", f"value {number}"
            answer = await self.cluster.http.put(
                self.cluster.kv(self.facts.main, key), content=value.encode(), headers=AUTHORIZED
            )
            if answer.status_code in {201, 204}:
                self.kept[key] = value
            await asyncio.sleep(0.02)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fuzzed]:
    """A main and a backup that ask for tokens, and acknowledged writes."""
    directory = tmp_path_factory.mktemp("lab")
    (directory / "tokens").write_text(f"{TOKEN}\n")
    (directory / "secret").write_text(f"{SECRET}\n")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HANAS_CLIENT_TOKEN_FILE", str(directory / "tokens"))
        environment.setenv("HANAS_SECRET_FILE", str(directory / "secret"))
        async with running(directory, 2, None, **PATIENT) as cluster:
            main = await cluster.settle()
            status = await cluster.status(main)
            facts = Facts(
                folder_id=status["folder"]["id"],
                epoch=status["epoch"],
                main=main,
                incarnation=status["incarnation"],
                members=tuple(cluster.names),
                journal=str(directory / "journal"),
            )
            Path(facts.journal).touch()
            under_test = Fuzzed(cluster, facts)
            under_test.begin()
            try:
                yield under_test
            finally:
                await under_test.end()


async def test_what_the_descriptions_allow_and_what_they_forbid(fuzzed: Fuzzed) -> None:
    targets = {name: fuzzed.target(name) for name in NAMES}
    found = await asyncio.gather(*(play(target, fuzzed.facts, EXAMPLES, SEED) for target in targets.values()))
    wrong = {name: words for name, words in zip(targets, found, strict=True) if words is not None}
    assert not wrong, "\n".join(wrong.values())


@pytest.mark.parametrize("name", NAMES)
async def test_what_is_hardly_http(fuzzed: Fuzzed, name: str) -> None:
    target = fuzzed.target(name)
    loop = asyncio.get_running_loop()

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES * 40,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(requests())
    def send(rough: Rough) -> None:
        request = rough.bytes(target.token)
        if b"/v1/events" in request or b"/v1/watch" in request:
            return
        got = asyncio.run_coroutine_threadsafe(answers(target.url, request), loop).result()
        wrong = [words for reply in got if (words := what_is_wrong(reply, worker=target.description == "worker"))]
        assert not wrong, (wrong, got)

    await asyncio.to_thread(send)


async def test_afterwards_all_is_as_before(fuzzed: Fuzzed) -> None:
    cluster, facts = fuzzed.cluster, fuzzed.facts
    await fuzzed.end()
    assert len(fuzzed.kept) > 20
    assert (await cluster.settle(), await cluster.epoch()) == (facts.main, facts.epoch)
    assert (await cluster.status(facts.main))["incarnation"] == facts.incarnation, "it was not started anew"
    assert {worker["state"] for worker in cluster.lab.status()["workers"]} == {"running"}
    pool = {member.member for member in (await cluster.client.cluster()).members}
    assert set(cluster.names) <= pool <= {*cluster.names, *STRANGERS}
    for name in [*cluster.names, "overseer"]:
        log = cluster.lab.log_of(name).read_text()
        assert "Traceback" not in log, log[log.index("Traceback") :][:3000]
        assert not [line for line in log.splitlines() if " ERROR " in line or "error of this program" in line]
    for key, value in fuzzed.kept.items():
        answer = await cluster.http.get(cluster.kv(facts.main, key), headers=AUTHORIZED)
        assert (answer.status_code, answer.text) == (200, value)
    await _until_the_backup_has_them(fuzzed)


async def _until_the_backup_has_them(fuzzed: Fuzzed) -> None:
    async def alike() -> bool:
        main, backup = [(await fuzzed.cluster.status(name))["revision"] for name in (fuzzed.facts.main, fuzzed.backup)]
        return bool(main == backup)

    await eventually(alike)


async def test_what_was_acknowledged_to_the_fuzzing_is_there(fuzzed: Fuzzed) -> None:
    last: dict[str, str | None] = {}
    for line in Path(fuzzed.facts.journal).read_bytes().splitlines():
        acknowledged = msgspec.json.decode(line, type=Acknowledged)
        last[acknowledged.path] = acknowledged.etag
    assert last
    url = fuzzed.cluster.url(fuzzed.facts.main)
    for path, etag in last.items():
        answer = await fuzzed.cluster.http.get(httpx.URL(url).copy_with(raw_path=path.encode()), headers=AUTHORIZED)
        assert answer.headers.get("etag") == etag, path
