"""`hanas demo`: a failed link, a failed main and a paused main on real processes, described and checked step by step.

Each sentence of the story is a condition or a comparison that held. The first one that fails ends the story with exit
code 1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import httpx

from hanas_client import transport
from hanas_client.asynchronous import AsyncClient
from hanas_client.documents import Alert
from hanas_client.errors import HanasError
from hanas_client.settings import Policy
from hanas_client.tables import console
from hanas_lab.cluster import OVERSEER, Lab
from hanas_lab.writers import Writers

T = TypeVar("T")

_PATIENCE_SECONDS = 15.0
_POLL_SECONDS = 0.02
_LATE_REQUESTS = 8


class CheckFailed(Exception):
    """A condition of the story does not hold."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the demo."""
    parser.add_argument("--directory", help="keep data and logs there (a temporary one, removed at the end)")


def run(arguments: argparse.Namespace) -> int:
    """Play the story; return 0 if all checks passed, else 1."""
    story = Story(as_json=arguments.json)
    try:
        if arguments.directory:
            asyncio.run(_play(story, Path(arguments.directory)))
        else:
            with tempfile.TemporaryDirectory(prefix="hanas-demo-") as directory:
                asyncio.run(_play(story, Path(directory)))
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
            self._console.print(f"  [dim]{at:6.2f} s[/dim]  {sentence}", highlight=False)
        self._entries.append({"seconds": round(at, 3), "sentence": sentence})

    def end(self, failure: str | None) -> None:
        """Report the result; `failure` is the check that did not pass."""
        if self._console is None:
            print(json.dumps({"ok": failure is None, "failure": failure, "story": self._entries}))
        elif failure is None:
            self._console.print("\n[bold green]All checks passed.[/bold green]")
        else:
            self._console.print(f"\n[bold red]Failed:[/bold red] {failure}", highlight=False)


async def _play(story: Story, directory: Path) -> None:
    story.chapter("Three workers come up")
    lab = Lab(directory, 3, overseer_port=0, first_port=0, report=story.tell)
    async with lab, httpx.AsyncClient(trust_env=False, timeout=2.0) as http:
        policy = Policy(deadline=_PATIENCE_SECONDS, read=1.0)
        async with AsyncClient(lab.overseer_url, list(lab.urls.values()), policy=policy) as client:
            drill = Drill(story, lab, client, http)
            await drill.introduce()
            async with Writers(client, writers=3, rest=0.01) as load:
                await drill.redirect(load)
                await drill.failed_link(load)
                await drill.failed_main(load)
                await drill.rejoin(load)
                await drill.paused_main(load)
            await drill.count(load)
        story.chapter("The lab ends")
    story.tell("every process has ended")


class Drill:
    """The scenes of the story."""

    def __init__(self, story: Story, lab: Lab, client: AsyncClient, http: httpx.AsyncClient) -> None:
        self._story, self._lab, self._client, self._http = story, lab, client, http

    async def introduce(self) -> None:
        """The members."""
        main = await self._main()
        backups = ", ".join(name for name in self._lab.urls if name != main)
        self._story.tell(f"{main} is the main, {backups} are backups; {self._lab.overseer_url}/ shows them")

    async def redirect(self, load: Writers) -> None:
        """Writes go through the redirect of a backup."""
        self._story.chapter("Clients write, also through a backup")
        main = await self._main()
        backup = self._a_backup_of(main)
        await self._expect_redirect(backup, main)
        began = time.monotonic()
        await load.more(300)
        rate = 300 / (time.monotonic() - began)
        self._story.tell(
            f"three unhurried writers have 300 writes acknowledged, {rate:.0f} a second, each synced and fenced"
        )

    async def failed_link(self, load: Writers) -> None:
        """A cut link causes no takeover."""
        self._story.chapter("The link is cut")
        main = await self._main()
        backup = self._a_backup_of(main)
        epoch = await self._epoch()
        cut_at = time.monotonic()
        self._lab.cut(main, backup)
        self._story.tell(f"no packet passes between {main} and {backup} any more; both still reach the folder")
        await self._until(f"{backup} concludes LinkFailed", lambda: self._verdict_is(backup, "LinkFailed"))
        self._story.tell(
            f"{backup} concludes LinkFailed after {time.monotonic() - cut_at:.2f} s: {main} answered its probe"
        )
        alert = await self._until("the alert is raised", self._link_alert)
        self._story.tell(f"alert ({alert.severity}): {alert.message}")
        await self._expect_redirect(backup, main)
        await load.more(200)
        _expect(await self._epoch() == epoch, f"the epoch is still {epoch}")
        self._story.tell(f"{main} acknowledged 200 more writes and is still the main of epoch {epoch}")
        self._lab.heal(main, backup)
        await self._until(f"{backup} is Healthy again", lambda: self._verdict_is(backup, "Healthy"))
        await self._until("the alert is cleared", self._no_link_alert)
        self._story.tell(f"the link is healed: {backup} says Healthy, the alert is cleared")

    async def failed_main(self, load: Writers) -> None:
        """The main is killed: a backup takes over."""
        self._story.chapter("The main is killed (kill -9)")
        main, epoch = await self._main(), await self._epoch()
        killed_at = time.monotonic()
        await self._lab.kill(main)
        took = await self._in_time("a later epoch acknowledges a write", load.acknowledged_after(epoch)) - killed_at
        successor = await self._main()
        _expect(successor != main, f"{successor} differs from {main}")
        self._story.tell(f"{successor} acknowledged a write {took:.2f} s after {main} was killed")
        takeover = (await self._client.takeovers())[-1]
        self._story.tell(f"why: {takeover.words}")
        await self._expect_nothing_lost(load)

    async def rejoin(self, load: Writers) -> None:
        """The old main returns as a backup."""
        self._story.chapter("The old main returns")
        main, epoch = await self._main(), await self._epoch()
        answering = {name for name in self._lab.urls if await self._answers(name)}
        old = next(name for name in self._lab.urls if name not in answering)
        await self._lab.start_worker(old)
        await self._until(f"{old} is a healthy backup", lambda: self._verdict_is(old, "Healthy"))
        await self._expect_redirect(old, main)
        await load.more(100)
        _expect(await self._epoch() == epoch, f"the epoch is still {epoch}")
        self._story.tell(f"{old} joined as a backup of {main} and redirects to it; epoch {epoch} goes on")

    async def paused_main(self, load: Writers) -> None:
        """The main is paused and resumes after a takeover: it must acknowledge nothing."""
        self._story.chapter("The main is paused (SIGSTOP)")
        main, epoch = await self._main(), await self._epoch()
        paused_at = time.monotonic()
        await self._lab.pause(main)
        late = [asyncio.create_task(self._send_to(main, number)) for number in range(_LATE_REQUESTS)]
        took = await self._in_time("a later epoch acknowledges a write", load.acknowledged_after(epoch)) - paused_at
        successor = await self._main()
        self._story.tell(f"{successor} acknowledged a write {took:.2f} s after {main} was paused")
        await self._lab.resume(main)
        answers = await asyncio.gather(*late)
        _expect(all(status >= 300 for status in answers), f"the resumed {main} acknowledged nothing: {answers}")
        self._story.tell(
            f"{main} resumed with {len(answers)} waiting requests and acknowledged none of them ({_counts(answers)})"
        )
        await self._until(f"{main} is a healthy backup", lambda: self._verdict_is(main, "Healthy"))
        await self._expect_redirect(main, successor)
        self._story.tell(f"{main} stepped down and is a backup of {successor}")
        await self._expect_nothing_lost(load)

    async def count(self, load: Writers) -> None:
        """The totals of the writers."""
        self._story.chapter("The count")
        await self._expect_nothing_lost(load)
        _expect(not load.failed, f"no write failed: {load.failed[:2]}")
        changed = await load.changed()
        _expect(not changed, f"every value is unchanged; changed: {changed[:5]}")
        epochs = load.epochs()
        self._story.tell(
            f"{len(load.acknowledged)} writes were acknowledged in the epochs {epochs[0]} to {epochs[-1]}, "
            f"none failed, the slowest took {load.slowest:.2f} s with all its retries"
        )

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

    async def _verdict_is(self, name: str, verdict: str) -> bool:
        status = await self._client.status(self._lab.urls[name])
        return status["role"] == "backup" and status["verdict"] == verdict

    async def _answers(self, name: str) -> bool:
        try:
            return (await self._http.get(f"{self._lab.urls[name]}/healthz")).status_code == 200
        except transport.FAILURES:
            return False

    async def _link_alert(self) -> Alert | None:
        return next((alert for alert in await self._client.alerts() if alert.kind == "LinkFailed"), None)

    async def _no_link_alert(self) -> bool:
        return await self._link_alert() is None

    async def _send_to(self, name: str, number: int) -> int:
        """Send a write or a read by turns directly to a worker; return the status, 0 without an answer."""
        url = f"{self._lab.urls[name]}/v1/kv/late/{number}"
        try:
            if number % 2:
                return (await self._http.get(f"{self._lab.urls[name]}/v1/kv/load/0/000001", timeout=30)).status_code
            return (await self._http.put(url, content=b"late", timeout=30)).status_code
        except transport.FAILURES:
            return 0

    async def _expect_redirect(self, backup: str, main: str) -> None:
        response = await self._http.put(f"{self._lab.urls[backup]}/v1/kv/demo?a=b", content=b"hello")
        target = f"{self._lab.urls[main]}/v1/kv/demo?a=b"
        _expect(
            (response.status_code, response.headers.get("location")) == (307, target),
            f"{backup} redirects to {main} (it answered {response.status_code})",
        )
        followed = await self._http.put(response.headers["location"], content=b"hello")
        _expect(followed.status_code in {201, 204}, f"{main} takes the write (it answered {followed.status_code})")
        self._story.tell(f"{backup} answers 307 to {main}, which takes the write ({followed.status_code})")

    async def _expect_nothing_lost(self, load: Writers) -> None:
        lost = await load.missing()
        _expect(not lost, f"no acknowledged write is lost; lost: {lost[:5]}")
        self._story.tell(f"all {len(load.acknowledged)} acknowledged writes are there")

    async def _until(self, what: str, condition: Callable[[], Awaitable[T | None]]) -> T:
        """Wait until `condition` returns neither None nor False, and return its value."""
        return await self._in_time(what, _poll(condition))

    async def _in_time(self, what: str, waiting: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await waiting
        except TimeoutError:
            raise CheckFailed(
                f"{what}, within {_PATIENCE_SECONDS:.0f} s; see {self._lab.log_of(OVERSEER).parent}"
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
