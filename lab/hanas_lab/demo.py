"""`hanas demo`: failures and a lock on real processes, described and checked step by step.

Each sentence of the story is a condition or a comparison that held. The first one that fails ends the story with exit
code 1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import httpx
from rich.markup import escape

from hanas_client import transport
from hanas_client.asynchronous import AsyncClient
from hanas_client.documents import Alert
from hanas_client.errors import HanasError
from hanas_client.plain import plain
from hanas_client.settings import Policy
from hanas_client.tables import console
from hanas_lab.cluster import OVERSEER, Lab
from hanas_lab.hosts import Host, on_mounts
from hanas_lab.lock_scene import LockScene
from hanas_lab.writers import Writers

T = TypeVar("T")

_WORKERS = 3
_PATIENCE_SECONDS = {"lan": 15.0, "cloud": 60.0}
"""For each step, by preset."""
_TTL_SECONDS = {"lan": 5, "cloud": 30}
"""Of the lock, by preset."""
_POLL_SECONDS = 0.02
_LATE_REQUESTS = 8


class CheckFailed(Exception):
    """A condition of the story does not hold."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the demo."""
    parser.add_argument("--directory", help="keep data and logs there (a temporary one, removed at the end)")
    parser.add_argument(
        "--mount",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="put the folder on the volume that is mounted here; once for each worker: its own mount of that volume",
    )
    parser.add_argument("--preset", choices=sorted(_PATIENCE_SECONDS), default="lan", help="timings (lan)")


def run(arguments: argparse.Namespace) -> int:
    """Play the story; return 0 if all checks passed, else 1."""
    story = Story(as_json=arguments.json)
    try:
        with contextlib.ExitStack() as stack:
            directory = Path(arguments.directory or stack.enter_context(TemporaryDirectory(prefix="hanas-demo-")))
            mounts = [mount.absolute() for mount in arguments.mount]
            hosts = None
            if mounts:
                volume = TemporaryDirectory(prefix="hanas-demo-", dir=mounts[0], ignore_cleanup_errors=True)
                hosts = on_mounts(mounts, Path(stack.enter_context(volume)).name, _WORKERS)
            asyncio.run(_play(story, directory, arguments.preset, hosts))
    except CheckFailed as error:
        story.end(str(error))
        return 1
    story.end(None)
    return 0


class Story:
    """Prints the story with the time since its start, or collects it for `--json`."""

    def __init__(self, *, as_json: bool) -> None:
        self._console = None if as_json else console()
        self._started = time.monotonic()
        self._entries: list[dict[str, object]] = []

    def chapter(self, title: str) -> None:
        """Start a chapter."""
        if self._console is not None:
            self._console.print(f"\n[bold]{title}[/bold]")
        self._entries.append({"chapter": title})

    def tell(self, sentence: str) -> None:
        """Report a fact."""
        at = time.monotonic() - self._started
        if self._console is not None:
            self._console.print(f"  [dim]{at:6.2f} s[/dim]  {escape(plain(sentence))}", highlight=False)
        self._entries.append({"seconds": round(at, 3), "sentence": sentence})

    def end(self, failure: str | None) -> None:
        """Report the result; `failure` is the check that did not pass."""
        if self._console is None:
            print(json.dumps({"ok": failure is None, "failure": failure, "story": self._entries}))
        elif failure is None:
            self._console.print("\n[bold green]All checks passed.[/bold green]")
        else:
            self._console.print(f"\n[bold red]Failed:[/bold red] {escape(plain(failure))}", highlight=False)


async def _play(story: Story, directory: Path, preset: str, hosts: dict[str, Host] | None) -> None:
    patience = _PATIENCE_SECONDS[preset]
    story.chapter("Three workers come up")
    lab = Lab(
        directory,
        _WORKERS,
        overseer_port=0,
        first_port=0,
        preset=preset,
        hosts=hosts,
        report=story.tell,
        patience=2 * patience,
    )
    async with lab, httpx.AsyncClient(trust_env=False, timeout=patience) as http:
        policy = Policy(deadline=patience, read=1.0)
        async with AsyncClient(lab.overseer_url, list(lab.urls.values()), policy=policy) as client:
            load = Writers(client, writers=3, rest=0.01)
            drill = Drill(story, lab, client, http, load, patience)
            ttl = _TTL_SECONDS[preset]
            await drill.introduce()
            async with load:
                await drill.redirect()
                await drill.failed_link()
                await drill.failed_main()
                await drill.rejoin()
                await drill.paused_main()
                await drill.locked_job(directory / "job", ttl)
            await drill.count()
        story.chapter("The lab ends")
    story.tell("every process has ended")


class Drill:
    """The scenes of the story."""

    def __init__(
        self, story: Story, lab: Lab, client: AsyncClient, http: httpx.AsyncClient, load: Writers, patience: float
    ) -> None:
        self._story, self._lab, self._client, self._http, self._load = story, lab, client, http, load
        self._patience = patience

    async def introduce(self) -> None:
        """The members."""
        main = await self._main()
        backups = " and ".join(name for name in self._lab.urls if name != main)
        self._story.tell(f"{main} is the main, {backups} are backups; dashboard: {self._lab.overseer_url}/")

    async def redirect(self) -> None:
        """Writes go through the redirect of a backup."""
        self._story.chapter("Clients write, also through a backup")
        main = await self._main()
        await self._expect_redirect(self._a_backup_of(main), main)
        began = time.monotonic()
        await self._load.more(300)
        rate = 300 / (time.monotonic() - began)
        self._story.tell(f"three clients that pause between writes had 300 writes acknowledged, {rate:.0f} a second")

    async def failed_link(self) -> None:
        """A cut link causes no takeover."""
        self._story.chapter("The link is cut")
        main, epoch = await self._main(), await self._epoch()
        backup = self._a_backup_of(main)
        began = time.monotonic()
        self._lab.cut(main, backup)
        self._story.tell(f"{main} and {backup} cannot reach each other; both still reach the folder")
        await self._until_verdict(backup, "LinkFailed")
        took = time.monotonic() - began
        self._story.tell(f"{backup} says LinkFailed after {took:.2f} s: {main} answered its probe in the folder")
        alert = await self._until("the alert is raised", self._link_alert)
        self._story.tell(f"alert ({alert.severity}): {alert.message}")
        await self._expect_redirect(backup, main)
        await self._load.more(200)
        await self._expect_epoch(epoch)
        self._story.tell(f"{main} acknowledged 200 more writes and is still the main of epoch {epoch}")
        self._lab.heal(main, backup)
        await self._until_verdict(backup, "Healthy")
        await self._until("the alert is cleared", self._no_link_alert)
        self._story.tell(f"the link is healed: {backup} says Healthy, the alert is cleared")

    async def failed_main(self) -> None:
        """The main is killed: a backup takes over."""
        self._story.chapter("The main is killed (kill -9)")
        main, epoch = await self._main(), await self._epoch()
        began = time.monotonic()
        await self._lab.kill(main)
        successor = await self._expect_takeover(epoch, f"{main} was killed", began)
        _expect(successor != main, f"{successor} differs from {main}")
        takeover = (await self._client.takeovers())[-1]
        self._story.tell(f"why: {takeover.words}")
        await self._expect_nothing_lost()

    async def rejoin(self) -> None:
        """The old main returns as a backup."""
        self._story.chapter("The old main returns")
        main, epoch = await self._main(), await self._epoch()
        old = next(server["name"] for server in self._lab.status()["workers"] if server["state"] == "ended")
        await self._lab.start_worker(old)
        await self._until_verdict(old, "Healthy")
        await self._expect_epoch(epoch)
        await self._expect_redirect(old, main)
        await self._load.more(100)
        await self._expect_epoch(epoch)
        self._story.tell(f"{old} is a backup of {main}; epoch {epoch} continues")

    async def paused_main(self) -> None:
        """The main is paused and resumes after a takeover: it must acknowledge nothing."""
        self._story.chapter("The main is paused (SIGSTOP)")
        main, epoch = await self._main(), await self._epoch()
        began = time.monotonic()
        await self._lab.pause(main)
        late = [asyncio.create_task(self._send_to(main, number)) for number in range(_LATE_REQUESTS)]
        successor = await self._expect_takeover(epoch, f"{main} was paused", began)
        await self._lab.resume(main)
        answers = await asyncio.gather(*late)
        _expect(all(status >= 300 for status in answers), f"the resumed {main} acknowledged nothing: {answers}")
        self._story.tell(
            f"{main} resumed and acknowledged none of {len(answers)} waiting requests ({_counts(answers)})"
        )
        await self._until_verdict(main, "Healthy")
        await self._expect_redirect(main, successor)
        self._story.tell(f"{main} stepped down and is a backup of {successor}")
        await self._expect_nothing_lost()

    async def locked_job(self, directory: Path, ttl: int) -> None:
        """A job runs under a lock, of which the main and then the holder are killed."""
        self._story.chapter("Two processes want to run the same job (hanas lock)")
        main, epoch = await self._main(), await self._epoch()
        overseer = self._lab.overseer_url
        async with LockScene(self._client, overseer, directory, ttl, self._story.tell, self._until) as scene:
            await scene.begin()
            began = time.monotonic()
            await self._lab.kill(main)
            await self._expect_takeover(epoch, f"{main} was killed", began)
            await scene.goes_on()
            trouble = await scene.moves_on()
        _expect(not trouble, trouble)
        await self._expect_nothing_lost()

    async def count(self) -> None:
        """The totals of the writers."""
        load = self._load
        self._story.chapter("The count")
        await self._expect_nothing_lost()
        _expect(not load.failed, f"no write failed: {load.failed[:2]}")
        changed = await load.changed()
        _expect(not changed, f"every value is unchanged; changed: {changed[:5]}")
        epochs = load.epochs()
        self._story.tell(f"they were written in epochs {epochs[0]} to {epochs[-1]}, and every value is correct")
        self._story.tell(f"no write failed; the slowest took {load.slowest:.2f} s with all its retries")

    # ------------------------------------------------------------------ conditions of the scenes

    async def _main(self) -> str:
        return await self._until("there is a main that serves", self._serving_main)

    async def _serving_main(self) -> str | None:
        main = (await self._client.cluster()).main
        return main.member if main is not None and main.state == "serving" else None

    async def _epoch(self) -> int:
        return (await self._client.cluster()).epoch or 0

    def _a_backup_of(self, main: str) -> str:
        return next(name for name in self._lab.urls if name != main)

    async def _link_alert(self) -> Alert | None:
        return next((alert for alert in await self._client.alerts() if alert.kind == "LinkFailed"), None)

    async def _no_link_alert(self) -> bool:
        return await self._link_alert() is None

    async def _send_to(self, name: str, number: int) -> int:
        """Send a write or a read by turns directly to a worker; return the status, 0 without an answer."""
        url = f"{self._lab.urls[name]}/v1/kv/"
        try:
            if number % 2:
                return (await self._http.get(f"{url}load/0/000001", timeout=30)).status_code
            return (await self._http.put(f"{url}late/{number}", content=b"late", timeout=30)).status_code
        except transport.FAILURES:
            return 0

    async def _expect_epoch(self, epoch: int) -> None:
        later = [takeover for takeover in await self._client.takeovers() if takeover.epoch > epoch]
        why = "; ".join(f"epoch {takeover.epoch} came: {takeover.words}" for takeover in later)
        _expect(await self._epoch() == epoch, f"the epoch is still {epoch} ({why})")

    async def _expect_takeover(self, epoch: int, failure: str, began: float) -> str:
        """Wait for the first write of a later epoch, and return its main; `began` is the time of the failure."""
        acknowledged = await self._in_time("a later epoch acknowledges a write", self._load.acknowledged_after(epoch))
        successor = await self._main()
        self._story.tell(f"{successor} acknowledged a write {acknowledged - began:.2f} s after {failure}")
        return successor

    async def _expect_redirect(self, backup: str, main: str) -> None:
        response = await self._put(backup)
        target = f"{self._lab.urls[main]}/v1/kv/demo"
        answer = response.status_code, response.headers.get("location")
        _expect(answer == (307, target), f"{backup} redirects to {target} (it answered {answer[0]}, {answer[1]})")
        status = (await self._put(main)).status_code
        _expect(status in {201, 204}, f"{main} accepts the write (it answered {status})")
        self._story.tell(f"{backup} redirects a write to {main} (307), which accepts it ({status})")

    async def _put(self, name: str) -> httpx.Response:
        """Return what a worker answers to a write, in its own time: it may start or the volume may be slow."""
        try:
            return await self._http.put(f"{self._lab.urls[name]}/v1/kv/demo", content=b"hello")
        except transport.FAILURES as error:
            raise CheckFailed(f"{name} answers a write ({error!r}); see {self._lab.log_of(name)}") from None

    async def _expect_nothing_lost(self) -> None:
        lost = await self._load.missing()
        _expect(not lost, f"no acknowledged write is lost; lost: {lost[:5]}")
        self._story.tell(f"all {len(self._load.acknowledged)} acknowledged writes are there")

    async def _until_verdict(self, backup: str, verdict: str) -> None:
        async def holds() -> bool:
            status = await self._client.status(self._lab.urls[backup])
            return status["role"] == "backup" and status["verdict"] == verdict

        await self._until(f"{backup} is a backup that says {verdict}", holds)

    async def _until(self, what: str, condition: Callable[[], Awaitable[T | None]]) -> T:
        """Wait until `condition` returns neither None nor False, and return its value."""
        return await self._in_time(what, _poll(condition))

    async def _in_time(self, what: str, waiting: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._patience):
                return await waiting
        except TimeoutError:
            raise CheckFailed(
                f"{what}, within {self._patience:.0f} s; see {self._lab.log_of(OVERSEER).parent}"
            ) from None


async def _poll(condition: Callable[[], Awaitable[T | None]]) -> T:
    while True:
        with contextlib.suppress(HanasError):  # a server that stops or starts
            if (answer := await condition()) is not None and answer is not False:
                return answer
        await asyncio.sleep(_POLL_SECONDS)


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise CheckFailed(what)


def _counts(statuses: list[int]) -> str:
    return ", ".join(f"{statuses.count(status)}× {status or 'no answer'}" for status in sorted(set(statuses)))
