"""The files of TLS of one process, and what connections begin with.

One set for all ports and for all connections to others. A port with files of its own would have further variables.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path

import msgspec

from hanas_serving.settings import CLIENT_CA, SettingError

CERT, KEY, CA = "HANAS_TLS_CERT", "HANAS_TLS_KEY", "HANAS_TLS_CA"
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption only. Those of TLS 1.3 are all good."""


class TlsFiles(msgspec.Struct, frozen=True, kw_only=True):
    """The files of one process, PEM each."""

    certificate: Path | None = None
    """With the chain up to the authority, without that."""
    key: Path | None = None
    trust: Path | None = None
    """The authorities of servers; None: those of the system."""
    client_trust: Path | None = None
    """The authorities of those who connect; None: nobody is asked for a certificate."""

    @property
    def listening(self) -> bool:
        """Whether this process speaks TLS where it listens."""
        return self.certificate is not None

    @property
    def scheme(self) -> str:
        """How the URLs of this process begin."""
        return "https" if self.listening else "http"

    @property
    def client_scheme(self) -> str:
        """How the URLs begin that a client with these files asks, unless it is told."""
        return "http" if self.trust is None and self.certificate is None else "https"

    @property
    def certified(self) -> bool:
        """Whether those who connect are asked for certificates."""
        return self.client_trust is not None

    def variables(self) -> dict[str, Path]:
        """Return the files by the variables that name them."""
        every = {CERT: self.certificate, KEY: self.key, CA: self.trust, CLIENT_CA: self.client_trust}
        return {name: path for name, path in every.items() if path is not None}


def read(environment: Mapping[str, str]) -> TlsFiles:
    """Return the files. Raises SettingError if some are missing."""
    certificate, key, trust, client_trust = (
        Path(environment[name]) if environment.get(name) else None for name in (CERT, KEY, CA, CLIENT_CA)
    )
    if (certificate is None) != (key is None):
        present, missing = (CERT, KEY) if key is None else (KEY, CERT)
        raise SettingError(f"{present} is set and {missing} is not: give both files, or neither")
    if client_trust is not None and certificate is None:
        raise SettingError(
            f"{CLIENT_CA} is set and {CERT} is not: certificates are shown over TLS only; set {CERT} too"
        )
    return TlsFiles(certificate=certificate, key=key, trust=trust, client_trust=client_trust)


def content_of(variable: str, path: Path) -> bytes:
    """Return the content of a file. Raises SettingError, which names the variable."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingError(f"{variable}={path}: the file cannot be read: {error.strerror}") from None


def calling(files: TlsFiles) -> ssl.SSLContext:
    """Return the context of connections to others. Raises SettingError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _restrict(context)
    if files.trust is None:
        context.load_default_certs()
    load(context, files)
    return context


def load(context: ssl.SSLContext, files: TlsFiles) -> None:
    """Have connections to others trust and show what the files say, beside what they trust. Raises SettingError."""
    if files.trust is not None:
        _trust(context, CA, files.trust)
    _show(context, files)


def listening(files: TlsFiles, demand: ssl.VerifyMode, *protocols: str) -> ssl.SSLContext:
    """Return the context of connections that come. Raises SettingError.

    ``demand``: of certificates, if any are asked for; ``protocols``: which ones may be spoken, best first (ALPN).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context)
    if protocols:
        context.set_alpn_protocols(protocols)
    context.options |= ssl.OP_NO_TICKET  # each connection is verified by the files as they are then
    context.num_tickets = 0
    _show(context, files)
    if files.client_trust is not None:
        _trust(context, CLIENT_CA, files.client_trust)
        context.verify_mode = demand
    return context


def _restrict(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _trust(context: ssl.SSLContext, variable: str, path: Path) -> None:
    content_of(variable, path)
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError:
        raise SettingError(f"{variable}={path}: the file holds no certificate (PEM)") from None


def _show(context: ssl.SSLContext, files: TlsFiles) -> None:
    if files.certificate is None or files.key is None:
        return
    try:
        context.load_cert_chain(files.certificate, files.key, password="")  # one that is asked for is an error
    except (ssl.SSLError, OSError):
        raise SettingError(
            f"{KEY}={files.key}: this is not the key of {CERT}={files.certificate}: "
            "give an unencrypted private key (PEM) and its certificate"
        ) from None
