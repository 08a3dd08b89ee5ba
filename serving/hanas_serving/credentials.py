"""The secret of the components, the tokens of clients and the file of clients, read again while a process runs.

A file counts when two looks in a row have read the same, so one that is just being written is not taken for whole. One
that cannot be used changes nothing: what was read before stays in force, and a person is told.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from typing import Any, Self, TypeVar, overload

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hanas_core.volume.errors import FolderError
from hanas_serving import clients, settings
from hanas_serving.callers import Callers
from hanas_serving.clients import Clients, ClientsError
from hanas_serving.lanes import Lane, StartThread
from hanas_serving.rereading import LOOK_SECONDS, PATIENCE_SECONDS, Reread
from hanas_serving.settings import CLIENTS, SECRETS, TOKENS, ComponentSettings, Public, SettingError

ADVICE = "Correct the file, in one step: write another one and rename it. It is read again by itself."
_log = logging.getLogger("hanas.serving")

Content = TypeVar("Content", bound=Sized)


class Lines(Sequence[str]):
    """The lines of one file, as they count now. There are never none where there were some."""

    def __init__(self, present: tuple[str, ...]) -> None:
        """Begin with these."""
        self.present = present

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...
    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        """Return some of them."""
        return self.present[place]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.present)


class _File(Reread[Content]):
    """One file, and what becomes of its content."""

    def __init__(self, variable: str, unit: str, present: Content, use: Callable[[Content], None]) -> None:
        super().__init__(variable, present, lambda content: f"the {len(content)} {unit}")
        self._unit, self._use = unit, use

    def take(self, seen: Content | str) -> bool:
        """Take note of what a look gave; return whether something else counts from now on."""
        content = self.settled(seen)
        if content is None:
            return False
        self._use(content)
        unit = self._unit
        _log.info("%s: the file has changed; its %d %s are in force from now on", self.variable, len(content), unit)
        return True


class Credentials(Collector):
    """What callers of one process show, and what it shows to others."""

    def __init__(
        self,
        environment: Mapping[str, str],
        secrets: tuple[str, ...],
        client_tokens: tuple[str, ...],
        listed: Clients | None = None,
        public: Public = Public.METRICS,
        *,
        certified: bool = False,
    ) -> None:
        """Begin with these. ``environment`` names the files; without a name they stay as they are.

        ``certified``: callers are asked for certificates.
        """
        self.secrets = Lines(secrets)
        self.client_tokens = Lines(client_tokens)
        self._listed = listed
        self.callers = Callers(secrets, client_tokens, listed, public, certified=certified)
        self.on_change: Callable[[], object] = lambda: None
        """Called when something else counts."""
        self._environment = environment
        self._decoded: dict[str, Clients] = {}
        files: tuple[_File[tuple[str, ...]] | _File[Clients], ...] = (
            _File(SECRETS, "lines", secrets, lambda lines: setattr(self.secrets, "present", lines)),
            _File(TOKENS, "lines", client_tokens, lambda lines: setattr(self.client_tokens, "present", lines)),
            _File(CLIENTS, "principals", listed or Clients(()), self._list),
        )
        self._files = [file for file in files if environment.get(file.variable)]

    @classmethod
    def of(cls, environment: Mapping[str, str], values: ComponentSettings, *, certified: bool) -> Self:
        """Return those of a process with these settings. ``certified``: as above. Raises SettingError."""
        listed = clients_of(environment)
        return cls(environment, values.secrets, values.client_tokens, listed, values.public, certified=certified)

    @property
    def trouble(self) -> str:
        """What is wrong with the files; empty if nothing is."""
        return "; ".join(file.trouble for file in self._files if file.trouble)

    async def keep(self, start: StartThread) -> None:
        """Look at the files until cancelled, in a thread that ``start`` starts: they may be on a volume that hangs."""
        lane = Lane("credentials", start)
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for file in self._files:
                if file.take(await self._look(lane, file.variable)):
                    self.callers.renew(self.secrets, self.client_tokens, self._listed)
                    self.on_change()

    def collect(self) -> Iterator[Metric]:
        """Yield the metric."""
        family = GaugeMetricFamily(
            "hanas_credentials_unusable",
            "1: the file that this variable names has changed and cannot be used.",
            labels=["file"],
        )
        for file in self._files:
            family.add_metric([file.variable], float(bool(file.trouble)))
        yield family

    def _list(self, listed: Clients) -> None:
        self._listed = listed

    async def _look(self, lane: Lane, variable: str) -> Any:
        """Return what stands in the file now, or what is wrong with it."""
        try:
            return await lane.run(_read(self._environment, variable, self._decoded), PATIENCE_SECONDS)
        except SettingError as error:
            return str(error)
        except FolderError:  # of the lane: its thread has not returned
            return f"{variable}={self._environment[variable]}: the file cannot be read: it does not answer"


def clients_of(environment: Mapping[str, str]) -> Clients | None:
    """Return what the file that ``HANAS_CLIENTS_FILE`` names grants; None if it is not set. Raises SettingError."""
    return _clients(environment, settings.text_of(environment, CLIENTS)) if environment.get(CLIENTS) else None


def _clients(environment: Mapping[str, str], text: str) -> Clients:
    try:
        return clients.decode(text)
    except ClientsError as error:
        raise SettingError(f"{CLIENTS}={environment[CLIENTS]}: {error}") from None


async def _read(
    environment: Mapping[str, str], variable: str, decoded: dict[str, Clients]
) -> Clients | tuple[str, ...]:
    """``decoded``: the one text of clients that was decoded last. Decoding it again and again would take its time."""
    if variable != CLIENTS:
        return settings.lines_of(environment, variable)
    text = settings.text_of(environment, variable)
    if text not in decoded:
        latest = _clients(environment, text)
        decoded.clear()
        decoded[text] = latest
    return decoded[text]
