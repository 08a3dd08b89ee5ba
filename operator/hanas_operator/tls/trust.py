"""How the operator itself calls pods that speak TLS: with the certificate and the authorities of their Secret."""

import ssl
import tempfile
import time
from pathlib import Path

from hanas_operator import kinds
from hanas_operator.api import Api, ApiError
from hanas_operator.tls import secrets
from hanas_serving import tls_files
from hanas_serving.settings import SettingError
from hanas_serving.tls_files import TlsFiles

_FRESH_SECONDS = 60.0
"""How long a Secret is not read again, unless a call fails."""
Where = tuple[str, str]
"""Namespace and name of a Secret."""


class Untrusted(Exception):
    """There is no certificate to call with. The message says why."""


class Trust:
    """Contexts of connections, by the Secrets that they are made of."""

    def __init__(self, api: Api) -> None:
        """Read Secrets through ``api``."""
        self._api = api
        self._contexts: dict[Where, tuple[float, ssl.SSLContext]] = {}

    async def context(self, where: Where) -> ssl.SSLContext:
        """Return the context for a new connection. Raises Untrusted."""
        since, context = self._contexts.get(where, (0.0, None))
        if context is not None and time.monotonic() - since <= _FRESH_SECONDS:
            return context
        try:
            context = await self._read(where)
        except Untrusted:
            if context is None:
                raise
        self._contexts[where] = time.monotonic(), context
        return context

    def drop(self, where: Where) -> None:
        """Read a Secret again before the next call: the last one failed, perhaps by its certificates."""
        self._contexts.pop(where, None)

    async def _read(self, where: Where) -> ssl.SSLContext:
        namespace, name = where
        try:
            actual = await self._api.get(kinds.SECRET, namespace, name)
        except ApiError as error:
            raise Untrusted(f"the Secret {name} with the certificates cannot be read: {error}") from None
        if actual is None:
            raise Untrusted(f"there is no Secret {name} with the certificates")
        with tempfile.TemporaryDirectory(prefix="hanas-") as directory:  # ssl reads keys from files only
            files = {key: Path(directory) / key for key in (secrets.CERTIFICATE, secrets.KEY, secrets.TRUST)}
            for key, path in files.items():
                path.write_bytes(secrets.content(actual, key))
            pair = {"certificate": files[secrets.CERTIFICATE], "key": files[secrets.KEY]}
            try:
                return tls_files.calling(TlsFiles(**pair, trust=files[secrets.TRUST]))
            except SettingError:
                raise Untrusted(f"the Secret {name} holds no usable certificate, key and authorities") from None
