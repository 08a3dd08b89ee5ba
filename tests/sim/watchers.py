"""Clients that watch keys at any worker, and go on at another one; what they are told is judged as it comes."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from hanas_worker.faces.http import watches
from hanas_worker.log.feeds import Feeds
from tests.revisions import KeyValue
from tests.sim.clients import TIMEOUT, Clients
from tests.sim.downloads import Download
from tests.sim.past import Past
from tests.sim.world import Violation, World

PREFIXES = ("", "", "k", "k0", "t", "t", "t0", "l", "l", "l1", "nobody")
_PROGRESS_SECONDS = 0.2
_STRETCH_BYTES = 700
_SILENCE_SECONDS = 1.2
"""A watcher that has heard nothing for so long goes on at another worker."""
_LATE = 0.1
"""Part of the changes after which a turn's time is over, and of the turns that come late."""


class Watch:
    """What one watcher asked for, and how far it was told everything."""

    def __init__(self, name: str, prefix: str, cursor: int | None, *, previous: bool) -> None:
        """``cursor``: the revision behind which it begins; None: now."""
        self.name, self.prefix, self.previous = name, prefix, previous
        self.cursor = cursor

    def __str__(self) -> str:
        return f"{self.name}, who watches {self.prefix!r} behind {self.cursor}"


class Judge:
    """Compares what watchers are told with everything that was committed."""

    def __init__(self, past: Past, world: World) -> None:
        self._past, self._world = past, world
        self.counts: Counter[str] = Counter()

    def began(self, watch: Watch, present: int) -> None:
        """A watch was accepted by a store that told this revision."""
        self._committed(watch, present)
        if watch.cursor is None:
            watch.cursor = present

    def told(self, watch: Watch, revision: int, changes: list[dict[str, Any]]) -> None:
        """All changes of a revision: exactly these, and nothing is left out before them."""
        if not self._goes_on(watch, revision - 1) or not self._committed(watch, revision):
            return
        expected = self._changes(watch, revision)
        if (found := _by_key(changes)) is None or found != expected:
            self._world.accuse(f"{watch} is told {changes} of revision {revision}, but {expected} is what it changed")
        watch.cursor = revision
        self.counts["revisions told"] += 1

    def progressed(self, watch: Watch, revision: int) -> None:
        """Everything up to a revision was told."""
        if self._committed(watch, revision) and self._goes_on(watch, revision):
            watch.cursor = revision
            self.counts["progress told"] += 1

    def lost(self, watch: Watch, compacted: int) -> None:
        """Changes up to a revision are forgotten, and it is told so."""
        if watch.cursor is not None and compacted <= watch.cursor:
            self._world.accuse(f"{watch} is told that history is forgotten up to {compacted}")
        if compacted > self._past.compacted:
            self._world.accuse(f"{watch} is told that {compacted} was compacted, but {self._past.compacted} was")
        watch.cursor = compacted
        self.counts["watches whose history was forgotten"] += 1

    def _committed(self, watch: Watch, revision: int) -> bool:
        last = self._past.model.revision
        if revision > last:
            self._world.accuse(f"{watch} is told of revision {revision}, and {last} is the last one that is committed")
        return revision <= last

    def _goes_on(self, watch: Watch, revision: int) -> bool:
        """Return whether nothing was changed behind the cursor up to a revision, which is not below it."""
        cursor = watch.cursor or 1
        if revision < cursor:
            self._world.accuse(f"{watch} goes back behind {revision}")
            return False
        for between in range(cursor + 1, min(revision, self._past.model.revision) + 1):
            if missing := self._changes(watch, between):
                self._world.accuse(f"{watch} goes on behind {revision}, and is not told of {between}: {missing}")
                return False
        return True

    def _changes(self, watch: Watch, revision: int) -> dict[str, tuple[object, object]]:
        """Return what a revision changed: of each key what it held then, and before if that is asked for."""
        before, after = self._past.model.at(revision - 1), self._past.model.at(revision)
        return {
            key.decode(): (_held(after.get(key)), _held(before.get(key)) if watch.previous else None)
            for key in before.keys() | after.keys()
            if key.startswith(watch.prefix.encode()) and before.get(key) != after.get(key)
        }


def _held(held: KeyValue | None) -> object:
    return None if held is None else (held.mod, held.create, held.version, held.lease, held.value.decode())


def _by_key(changes: list[dict[str, Any]]) -> dict[str, tuple[object, object]] | None:
    """Return told changes as `Judge` has them, None if a key comes twice."""
    found: dict[str, tuple[object, object]] = {}
    for change in changes:
        put, previous = change.get("put"), change.get("previous")
        key = change["delete"]["key"] if put is None else put["key"]
        if key in found:
            return None
        found[key] = _read(put), _read(previous)
    return found


def _read(row: dict[str, Any] | None) -> object:
    if row is None:
        return None
    return row["mod"], row.get("create", 0), row.get("version", 0), row.get("lease", 0), row["text"]


class Watchers:
    """A few of them, among the other clients. They go on when the others have stopped, until they know everything."""

    def __init__(self, clients: Clients, past: Past) -> None:
        self._clients, self._world, self._network = clients, clients.world, clients.network
        self._past = past
        self.judge = Judge(past, clients.world)
        self._watches: dict[int, Watch] = {}
        """The present one of each."""
        self._catching_up = self._over = False

    def start(self, count: int) -> None:
        for number in range(count):
            self._clients.loop.spawn(self._work(number)).add_done_callback(_look_at)

    def catch_up(self) -> None:
        """Go on with the present watches, and as fast as possible."""
        self._catching_up = True

    def stop(self) -> None:
        """End."""
        self._over = True

    @property
    def behind(self) -> list[Watch]:
        """The watches that were not told everything."""
        return [watch for watch in self._watches.values() if (watch.cursor or 0) < self._past.model.revision]

    async def _work(self, number: int) -> None:
        chance = self._world.random
        await asyncio.sleep(chance.uniform(0, 0.4))
        while not self._over:
            watch = self._watches[number] = self._drawn(f"watcher {number}")
            slowness = chance.choice((0.0, 0.0, 0.02, 0.3))
            await self._stay(watch, slowness)

    async def _stay(self, watch: Watch, slowness: float) -> None:
        """Go on with a watch at one worker after the other, for a while."""
        await self._follow(watch, slowness)
        while not self._over and (self._catching_up or self._world.random.random() < 0.8):
            await self._follow(watch, slowness)

    def _drawn(self, name: str) -> Watch:
        """Return a watch that begins anywhere: now, at what is to come, or where history may be forgotten."""
        chance, shown = self._world.random, self._network.shown
        cursor = None if not shown or chance.random() < 0.3 else max(0, shown - chance.choice((0, 0, 3, 10, 40)))
        return Watch(name, chance.choice(PREFIXES), cursor, previous=chance.random() < 0.5)

    async def _follow(self, watch: Watch, slowness: float) -> None:
        """Watch at some worker until the stream ends, or is left."""
        try:
            download = await self._opened(watch)
        except (OSError, TimeoutError):
            download = None
        if download is None:
            await asyncio.sleep(self._world.random.uniform(0.02, 0.2))
            return
        try:
            await self._listen(watch, download, slowness)
        except (TimeoutError, KeyError):
            pass
        finally:
            download.close()

    async def _opened(self, watch: Watch) -> Download | None:
        chance, clients = self._world.random, self._clients
        query, headers = f"prefix={watch.prefix}&prev={int(watch.previous)}", dict[str, str]()
        if watch.cursor is not None:
            if watch.cursor and chance.random() < 0.5:
                headers["last-event-id"] = str(watch.cursor)
            else:
                query += f"&from={watch.cursor + 1}"
        if chance.random() < 0.5:
            headers["accept"] = watches.Form.LINES.value
        target = chance.choice(clients.workers)
        for _ in range(3):
            url = f"http://{target}:3000/v1/watch?{query}"
            download = await self._network.download(clients.loop, url, TIMEOUT, headers)
            if download.status == 200:
                self.judge.counts["streams of changes"] += 1
                self.judge.began(watch, self._shown(download))
                return download
            body = await download.whole(TIMEOUT)
            if download.status == 410:
                self.judge.lost(watch, json.loads(body)["compacted"])
                return None
            if download.status != 307:
                if download.status != 503:
                    self._world.accuse(f"{watch} is answered {download.status}: {body!r}")
                return None
            target = download.headers["location"].partition("://")[2].partition(":")[0]
        return None

    def _shown(self, download: Download) -> int:
        revision = int(download.headers["hanas-revision"])
        self._network.shown = max(self._network.shown, revision)
        return revision

    async def _listen(self, watch: Watch, download: Download, slowness: float) -> None:
        chance, rest = self._world.random, b""
        end = b"\n" if download.headers["content-type"] == watches.Form.LINES.value else b"\n\n"
        while not self._over:
            part = await download.next(_SILENCE_SECONDS)
            if part is None:
                return
            *items, rest = (rest + part).split(end)
            for item in items:
                self._take(watch, item.decode())
            if not self._catching_up:
                await asyncio.sleep(chance.expovariate(1 / slowness) if slowness else 0.0)
                if chance.random() < 0.03:
                    return

    def _take(self, watch: Watch, item: str) -> None:
        """Take an event, or a line."""
        if item.startswith(("retry:", ":")):
            if item.startswith(": progress "):
                self.judge.progressed(watch, int(item.removeprefix(": progress ")))
            return
        document = json.loads(item.partition("data: ")[2] or item)
        if "compacted" in document:
            self.judge.lost(watch, document["compacted"])
        elif "progress" in document:
            self.judge.progressed(watch, document["progress"])
        else:
            if item.startswith("id: ") and item.partition("\n")[0] != f"id: {document['revision']}":
                raise Violation(f"{watch} is told of another revision than the id says: {item}")
            self.judge.told(watch, document["revision"], document["changes"])
        self._network.shown = max(self._network.shown, watch.cursor or 0)


def _look_at(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.result()


@contextmanager
def hurried(world: World) -> Iterator[None]:
    """Have streams tell little at a time and progress soon, and reading stopped after any change, for a while."""
    has_time, pump_soon = Feeds._has_time, Feeds._pump_soon

    def hear_has_time(feeds: Feeds) -> bool:
        return has_time(feeds) and not world.chance(_LATE)

    def hear_pump_soon(feeds: Feeds) -> None:
        if not feeds._coming and world.chance(_LATE):
            feeds._coming = True
            feeds._loop.call_later(world.random.uniform(0.0, 0.3), feeds._pump)
        else:
            pump_soon(feeds)

    with (
        patch.object(Feeds, "_pump_soon", hear_pump_soon),
        patch.object(watches, "PROGRESS_SECONDS", _PROGRESS_SECONDS),
        patch.object(watches, "_STRETCH_BYTES", _STRETCH_BYTES),
        patch.object(Feeds, "_has_time", hear_has_time),
    ):
        yield
