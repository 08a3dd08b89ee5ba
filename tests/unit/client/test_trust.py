"""The files of TLS of a client: changed ones are in force for new connections, and none is a surprise."""

import ssl
from pathlib import Path

import pytest

from hanas_client import trust
from hanas_client.trust import Trust
from hanas_serving.tls_files import TlsFiles, listening
from tests.unit.tls.handshakes import shaken
from tests.unit.tls.pki import HOST, Authority


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "LOOK_SECONDS", 0.0)


def server(authority: Authority) -> ssl.SSLContext:
    return listening(authority.files("worker-1", certified=True), ssl.CERT_REQUIRED)


def test_new_authorities_and_certificates_are_taken_over(tmp_path: Path) -> None:
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    certificate, key = old.client("shop")
    known = Trust(TlsFiles(certificate=certificate, key=key, trust=old.trust))
    first, later = server(old), server(new)
    assert "shop" in shaken(known.context, first, HOST)
    assert shaken(known.context, later, HOST) == ""
    context = known.context
    old.trust.write_bytes(old.trust.read_bytes() + new.trust.read_bytes())
    new.client("shop")  # in the place of the other one
    known.refresh()
    assert known.context is context, "the HTTP client has it"
    assert "shop" in shaken(known.context, later, HOST)


def test_files_that_cannot_be_used_change_nothing_and_are_tried_again(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.client("shop")
    good = key.read_bytes()
    known = Trust(TlsFiles(certificate=certificate, key=key, trust=authority.trust))
    for content in (b"", authority.client("other")[1].read_bytes()):
        key.write_bytes(content)
        known.refresh()
        assert "shop" in shaken(known.context, server(authority), HOST)
    key.unlink()
    known.refresh()
    key.write_bytes(good)
    authority.client("shop")
    known.refresh()
    assert "shop" in shaken(known.context, server(authority), HOST)


def test_files_are_looked_at_once_in_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    certificate, key = new.client("shop")
    known = Trust(TlsFiles(certificate=certificate, key=key, trust=old.trust))
    old.trust.write_bytes(new.trust.read_bytes())
    monkeypatch.setattr(trust, "LOOK_SECONDS", 60.0)
    known.refresh()
    assert shaken(known.context, server(new), HOST) == ""
    monkeypatch.setattr(trust, "LOOK_SECONDS", 0.0)
    known.refresh()
    assert "shop" in shaken(known.context, server(new), HOST)


def test_a_client_without_files_has_nothing_to_look_at() -> None:
    known = Trust(TlsFiles())
    known.refresh()
    assert known.context.verify_mode is ssl.CERT_REQUIRED
