"""TLS of a process: its certificate and whom it trusts, from files that are read again while it runs.

A new file counts for connections that begin afterwards; those that are open go on. One that cannot be used changes
nothing, and a person is told, as they are when the certificate is about to expire.
"""

import asyncio
import logging
import ssl
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from hanas_core.volume.errors import FolderError
from hanas_serving.facts import Facts
from hanas_serving.lanes import Lane, StartThread
from hanas_serving.rereading import LOOK_SECONDS, PATIENCE_SECONDS
from hanas_serving.settings import SettingError
from hanas_serving.tls_files import CERT, KEY, TlsFiles, calling, content_of, listening

_LATE_SHARE = 0.1
"""A person is told when less of a certificate's life is left."""
_log = logging.getLogger("hanas.serving")


class Listening(msgspec.Struct, frozen=True):
    """What the own certificate says, and the contexts of connections that come."""

    facts: Facts
    open: ssl.SSLContext
    strict: ssl.SSLContext
    dual: ssl.SSLContext
    """As strict, and for HTTP/2 and HTTP/1.1."""


class Contexts(msgspec.Struct, frozen=True):
    """What the files say."""

    calling: ssl.SSLContext
    """For connections to others."""
    listening: Listening | None
    """None: without TLS."""


def load(files: TlsFiles, now: datetime) -> Contexts:
    """Read the files. Raises SettingError, which names the variable."""
    present = None
    if files.certificate is not None and files.key is not None:
        facts = _facts(files.certificate, now)
        content_of(KEY, files.key)
        present = Listening(
            facts,
            listening(files, ssl.CERT_OPTIONAL),
            listening(files, ssl.CERT_REQUIRED),
            listening(files, ssl.CERT_REQUIRED, "h2", "http/1.1"),
        )
    return Contexts(calling(files), present)


def _facts(path: Path, now: datetime) -> Facts:
    from hanas_serving import certificates  # noqa: PLC0415  # its library takes long to load

    try:
        facts = certificates.facts(content_of(CERT, path))
    except ValueError:
        raise SettingError(f"{CERT}={path}: the file holds no certificate (PEM)") from None
    if now >= facts.ends:
        raise SettingError(f"{CERT}={path}: the certificate expired {facts.ends:%Y-%m-%d %H:%M} UTC; renew it")
    if now < facts.begins:
        begin = f"{facts.begins:%Y-%m-%d %H:%M} UTC"
        raise SettingError(f"{CERT}={path}: the certificate is valid from {begin} on; is the clock right?")
    return facts


class Tls:
    """The TLS of one process, as its files say now. It belongs to the event loop."""

    def __init__(self, files: TlsFiles) -> None:
        """Read ``files``. Raises SettingError."""
        self.files = files
        self._loaded = _contents(files)
        """What the contexts were made of, or something older."""
        self._seen: dict[str, bytes] | str = self._loaded
        """What the last look gave: contents, or what is wrong."""
        self.contexts = load(files, datetime.now(UTC))
        self._failure = ""
        if files.key is not None and files.key.stat().st_mode & stat.S_IROTH:
            _log.warning("%s=%s: every user of this machine can read the file; chmod o= it", KEY, files.key)

    def calling(self) -> ssl.SSLContext:
        """Return the context for a new connection to another process."""
        return self.contexts.calling

    @property
    def open(self) -> Callable[[], ssl.SSLContext] | None:
        """Contexts of ports where those without a certificate may ask, too, at least how this process is."""
        return (lambda: self._listening().open) if self.files.listening else None

    @property
    def strict(self) -> Callable[[], ssl.SSLContext] | None:
        """Contexts of ports where nobody speaks without a certificate, if certificates are asked for at all."""
        return (lambda: self._listening().strict) if self.files.listening else None

    @property
    def dual(self) -> Callable[[], ssl.SSLContext] | None:
        """The same for ports that speak HTTP/2 too."""
        return (lambda: self._listening().dual) if self.files.listening else None

    def _listening(self) -> Listening:
        listening = self.contexts.listening
        assert listening is not None, "the files of a process stay the same, only their contents change"
        return listening

    @property
    def facts(self) -> Facts | None:
        """What the own certificate says, None without one."""
        listening = self.contexts.listening
        return None if listening is None else listening.facts

    @property
    def left_seconds(self) -> float | None:
        """How long the own certificate is still valid; negative if it has expired, None without one."""
        facts = self.facts
        return None if facts is None else (facts.ends - datetime.now(UTC)).total_seconds()

    @property
    def trouble(self) -> str:
        """What is wrong; empty if nothing is."""
        facts, left = self.facts, self.left_seconds
        late = ""
        if facts is not None and left is not None:
            life = (facts.ends - facts.begins).total_seconds()
            if left < _LATE_SHARE * life:
                verb = "expires" if left > 0 else "expired"
                late = f"{CERT}={self.files.certificate}: the certificate {verb} {facts.ends:%Y-%m-%d %H:%M} UTC"
        return "; ".join(filter(None, (self._failure, late)))

    async def keep(self, start: StartThread) -> None:
        """Look at the files until cancelled, in a thread that ``start`` starts: they may be on a volume that hangs."""
        if not self.files.variables():
            return
        lane = Lane("tls", start)
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            before, self._seen = self._seen, await self._look(lane)
            if self._seen != before:
                continue  # it may be just being written
            if isinstance(self._seen, str):
                self._fail(self._seen)
            elif self._seen != self._loaded:
                await self._take(lane, self._seen)
            elif self._failure:
                self._failure = ""
                _log.info("the files of TLS can be used again")

    async def _look(self, lane: Lane) -> dict[str, bytes] | str:
        try:
            return await lane.run(_read(self.files), PATIENCE_SECONDS)
        except SettingError as error:
            return str(error)
        except FolderError:  # of the lane: its thread has not returned
            return "the files of TLS cannot be read: their volume does not answer"

    async def _take(self, lane: Lane, seen: dict[str, bytes]) -> None:
        try:
            self.contexts = await lane.run(_load(self.files), PATIENCE_SECONDS)
        except (SettingError, FolderError) as error:
            self._fail(str(error))
            return
        self._loaded, self._failure = seen, ""
        facts = self.facts
        until = "" if facts is None else f"; the own certificate is valid until {facts.ends:%Y-%m-%d %H:%M} UTC"
        _log.info("the files of TLS have changed and are in force for new connections%s", until)

    def _fail(self, failure: str) -> None:
        if failure != self._failure:
            self._failure = failure
            _log.error("%s; the certificates that were read before stay in force", failure)


def _contents(files: TlsFiles) -> dict[str, bytes]:
    return {name: content_of(name, path) for name, path in files.variables().items()}


async def _read(files: TlsFiles) -> dict[str, bytes]:
    return _contents(files)


async def _load(files: TlsFiles) -> Contexts:
    return load(files, datetime.now(UTC))
