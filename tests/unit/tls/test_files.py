"""The files of TLS: what is refused at the start, what counts while a process runs, and what it shows of them."""

import asyncio
import logging
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from hanas_core.members.verdicts import Severity, Verdict
from hanas_serving import certificates, tls, tls_files
from hanas_serving.lanes import SystemThread
from hanas_serving.settings import SettingError
from hanas_serving.tls import Tls
from hanas_serving.tls_files import TlsFiles
from hanas_serving.tls_state import TlsCollector, TlsState
from hanas_worker.host import settings
from hanas_worker.host.credentials import conditions
from tests.unit.core.scenery import bare_folder, serve
from tests.unit.tls.pki import Authority
from tests.unit.waiting import meanwhile, until
from tests.unit.worker.nodes import backup_of


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "LOOK_SECONDS", 0.001)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"HANAS_TLS_CERT": "a"}, "HANAS_TLS_CERT is set and HANAS_TLS_KEY is not: give both files, or neither"),
        ({"HANAS_TLS_KEY": "a"}, "HANAS_TLS_KEY is set and HANAS_TLS_CERT is not: give both files, or neither"),
        ({"HANAS_TLS_CLIENT_CA": "a"}, "HANAS_TLS_CLIENT_CA is set and HANAS_TLS_CERT is not: "),
    ],
)
def test_half_a_set_is_refused(environment: Mapping[str, str], words: str) -> None:
    with pytest.raises(SettingError) as refusal:
        settings.read(environment)
    assert str(refusal.value).startswith(words)


def test_the_defaults_of_urls_follow(authority: Authority) -> None:
    files = authority.files()
    variables = {name: str(path) for name, path in files.variables().items()}
    read = settings.read(variables)
    assert (read.overseers, read.tls) == (("https://localhost:4000",), files)
    assert (read.advertise_url, read.link_url) == ("https://localhost:3001", "https://localhost:4001")
    mixed = settings.read({**variables, "OVERSEER_IP": "a:1,http://b:2", "LINK_URL": "http://c:3"})
    assert (mixed.overseers, mixed.link_url) == (("https://a:1", "http://b:2"), "http://c:3")
    plain = settings.read({"HANAS_TLS_CA": str(authority.trust)})
    assert (plain.overseers, plain.tls.listening) == (("http://localhost:4000",), False)


def unusable(authority: Authority) -> dict[str, tuple[TlsFiles, str]]:
    good = authority.files("good")
    assert good.certificate is not None
    assert good.key is not None
    nowhere, nonsense = authority.directory / "nowhere", authority.directory / "nonsense"
    nonsense.write_text("no PEM")
    other = authority.component("other")
    late = authority.component("late", days=-0.001)
    early = authority.write(
        "early", certificates.component(authority.pair, "early", (), datetime.now(UTC) + timedelta(days=2), 30)
    )
    change = msgspec.structs.replace
    return {
        "no certificate": (change(good, certificate=nowhere), "HANAS_TLS_CERT=.*nowhere: the file cannot be read: No"),
        "no key": (change(good, key=nowhere), "HANAS_TLS_KEY=.*nowhere: the file cannot be read: No such file"),
        "no authority": (change(good, trust=nowhere), "HANAS_TLS_CA=.*nowhere: the file cannot be read: No such file"),
        "nonsense": (change(good, certificate=nonsense), "HANAS_TLS_CERT=.*: the file holds no certificate"),
        "no trust": (change(good, client_trust=nonsense), "HANAS_TLS_CLIENT_CA=.*: the file holds no certificate"),
        "another's key": (change(good, key=other[1]), "HANAS_TLS_KEY=.*: this is not the key of HANAS_TLS_CERT"),
        "nonsense for a key": (
            change(good, key=nonsense),
            "HANAS_TLS_KEY=.*: this is not the key of HANAS_TLS_CERT",
        ),
        "expired": (change(good, certificate=late[0], key=late[1]), "HANAS_TLS_CERT=.*: the certificate expired 20"),
        "early": (change(good, certificate=early[0], key=early[1]), "HANAS_TLS_CERT=.*: the certificate is valid from"),
    }


def test_what_cannot_be_used_is_refused_at_the_start_in_one_line(authority: Authority) -> None:
    for what, (files, words) in unusable(authority).items():
        with pytest.raises(SettingError, match=words) as refusal:
            Tls(files)
        assert "\n" not in str(refusal.value), what


def test_a_key_that_everybody_can_read_is_warned_of(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    files = authority.files("open")
    assert files.key is not None
    Tls(files)
    assert not caplog.text
    files.key.chmod(0o644)
    Tls(files)
    assert "every user of this machine can read the file" in caplog.text


async def test_a_new_pair_counts_and_an_unusable_one_does_not(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hanas.serving")
    files = authority.files("changing")
    held = Tls(files)
    before = held.contexts
    async with meanwhile(held.keep(SystemThread)):
        authority.component("changing", "new.test", days=60)
        await until(lambda: held.contexts is not before)
        changed = held.contexts
        assert held.facts is not None
        assert held.facts.names == ("changing", "new.test")
        assert not held.trouble
        authority.component("changing", days=-0.001)
        await until(lambda: "expired" in held.trouble)
        assert held.contexts is changed
        assert files.key is not None
        files.key.unlink()
        await until(lambda: "HANAS_TLS_KEY=" in held.trouble and "No such file" in held.trouble)
        assert held.contexts is changed
        authority.component("changing", "third.test")
        await until(lambda: not held.trouble)
        assert held.contexts is not changed
    assert "the files of TLS have changed and are in force for new connections; the own certificate" in caplog.text
    assert "; the certificates that were read before stay in force" in caplog.text


async def test_what_was_right_before_can_come_back(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hanas.serving")
    held = Tls(authority.files("returning"))
    before, path = held.contexts, authority.directory / "returning.crt"
    content = path.read_bytes()
    async with meanwhile(held.keep(SystemThread)):
        path.write_bytes(b"nonsense")
        await until(lambda: bool(held.trouble))
        path.write_bytes(content)
        await until(lambda: not held.trouble)
    assert held.contexts is before
    assert "the files of TLS can be used again" in caplog.text


async def test_without_files_nothing_is_watched() -> None:
    async with asyncio.timeout(1):
        await Tls(TlsFiles()).keep(SystemThread)


async def test_a_certificate_that_is_about_to_expire_raises_an_alert_and_shows_in_the_metrics(
    authority: Authority,
) -> None:
    main = serve(bare_folder(), 1)
    host = backup_of(main, main.folder).host
    assert conditions(host) == []
    host.tls = Tls(authority.files())
    assert conditions(host) == []
    [gauge, expiry] = TlsCollector(host.tls).collect()
    assert (gauge.name, gauge.samples[0].value) == ("hanas_tls", 1)
    assert expiry.name == "hanas_certificate_expiry_seconds"
    assert 29 * 86400 < expiry.samples[0].value < 30 * 86400
    short = authority.component("short", days=0.0001)
    host.tls = Tls(TlsFiles(certificate=short[0], key=short[1]))
    [condition] = conditions(host)
    assert (condition.kind, condition.severity) == (Verdict.UNKNOWN, Severity.URGENT)
    assert "the certificate expires 20" in condition.message
    assert TlsState.of(host.tls).trouble == host.tls.trouble
    [gauge] = TlsCollector(None).collect()
    assert (gauge.name, gauge.samples[0].value) == ("hanas_tls", 0)
    assert TlsState.of(None) == TlsState(on=False, client_certificates=False, expiry_seconds=None, trouble=None)


def test_contexts_allow_what_is_modern_only(authority: Authority) -> None:
    files = authority.files(certified=True)
    strict, calling = tls_files.listening(files, ssl.CERT_REQUIRED), tls_files.calling(files)
    for context in (strict, calling):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        for cipher in context.get_ciphers():
            assert cipher["aead"], cipher["name"]
            assert cipher["protocol"] == "TLSv1.3" or "kx-ecdhe" in cipher["kea"]
    assert (calling.verify_mode, calling.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert (strict.verify_mode, strict.num_tickets) == (ssl.CERT_REQUIRED, 0)


def test_an_encrypted_key_is_an_error_and_no_question(authority: Authority, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    files = authority.files("encrypted")
    assert files.key is not None
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    closed = tmp_path / "closed.key"
    protection = serialization.BestAvailableEncryption(b"secret")
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    closed.write_bytes(key.private_bytes(pem, form, protection))
    with pytest.raises(SettingError, match="give an unencrypted private key"):
        Tls(msgspec.structs.replace(files, key=closed))
