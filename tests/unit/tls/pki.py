"""Authorities and certificates in files, and connections that show them."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

from hanas_serving import certificates
from hanas_serving.certificates import Pair
from hanas_serving.tls_files import TlsFiles

HOST = "localhost"


class Authority:
    """Signs what it is asked for, and writes it into a directory."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self.directory = directory
        self.pair = certificates.authority(name, datetime.now(UTC))
        self.trust = directory / f"{name}.crt"
        self.trust.write_bytes(self.pair.certificate)

    def write(self, name: str, pair: Pair) -> tuple[Path, Path]:
        paths = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        for path, content in zip(paths, (pair.certificate, pair.key), strict=True):
            new = path.with_suffix(".new")
            new.touch(0o600)
            new.write_bytes(content)
            new.replace(path)
        return paths

    def component(self, name: str, *hosts: str, days: float = 30) -> tuple[Path, Path]:
        return self.write(name, certificates.component(self.pair, name, hosts, datetime.now(UTC), days))

    def client(self, name: str, days: float = 30) -> tuple[Path, Path]:
        return self.write(name, certificates.client(self.pair, name, datetime.now(UTC), days))

    def files(self, name: str = "worker-1", *, certified: bool = False) -> TlsFiles:
        """What a component of this name has."""
        certificate, key = self.component(name, HOST, "127.0.0.1")
        trust = self.trust if certified else None
        return TlsFiles(certificate=certificate, key=key, trust=self.trust, client_trust=trust)

    def context(self, pair: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """Return what a client needs that trusts this authority, and shows a certificate or none."""
        context = ssl.create_default_context(cafile=self.trust)
        if pair is not None:
            context.load_cert_chain(*pair)
        return context
