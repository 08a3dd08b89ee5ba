"""The certificates of a lab: of each process, and of whoever uses it."""

from __future__ import annotations

import ssl
from pathlib import Path

from hanas_client import certificate_directory
from hanas_serving.settings import CLIENT_CA
from hanas_serving.tls_files import CA, CERT, KEY, TlsFiles, calling, listening

CLIENT = "client"
DAYS = 365.0


class Identities:
    """A directory of certificates, which may be there from an earlier run. Raises HanasError, OSError."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        if not (directory / f"{certificate_directory.AUTHORITY}.crt").exists():
            certificate_directory.create(directory, (), (CLIENT,), (), DAYS)

    def issue(self, name: str, address: str) -> None:
        """Make the certificate of a worker at `address`, unless it has one."""
        if not (self._directory / f"{name}.crt").exists():
            certificate_directory.add(self._directory, (name,), (), (address,), DAYS)

    def renew(self) -> None:
        """Replace all certificates but the authority's."""
        certificate_directory.renew(self._directory, DAYS)

    def files(self, name: str) -> TlsFiles:
        """Return the files of a process, or of the client."""
        authority = self._directory / f"{certificate_directory.AUTHORITY}.crt"
        certificate, key = self._directory / f"{name}.crt", self._directory / f"{name}.key"
        return TlsFiles(certificate=certificate, key=key, trust=authority, client_trust=authority)

    def environment(self, name: str) -> dict[str, str]:
        """Return the settings of a process, or of the client."""
        files = self.files(name).variables()
        return {variable: str(path) for variable, path in files.items() if name != CLIENT or variable != CLIENT_CA}

    def listening(self, name: str) -> ssl.SSLContext:
        """Return the context of connections to a worker."""
        return listening(self.files(name), ssl.CERT_REQUIRED)

    def calling(self, name: str) -> ssl.SSLContext:
        """Return the context of connections from a worker, or from the client."""
        return calling(self.files(name))


VARIABLES = (CA, CERT, KEY, CLIENT_CA)
