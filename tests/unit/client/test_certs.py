"""`hanas certs`, and what the client trusts and shows."""

import asyncio
import json
import ssl
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from hanas_client import AsyncClient, Client, cli, transport
from hanas_client.settings import addresses, tls_files
from hanas_serving import certificates
from hanas_serving import tls_files as files_of

Capture = pytest.CaptureFixture[str]


def modes(directory: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


def names_of(path: Path) -> tuple[str, ...]:
    return certificates.facts(path.read_bytes()).names


def test_certs_are_made_added_and_renewed_and_nothing_is_overwritten(tmp_path: Path, capsys: Capture) -> None:
    directory = tmp_path / "certs"
    new = [
        "certs",
        "new",
        str(directory),
        "--worker",
        "w1",
        "--worker",
        "w2",
        "--host",
        "db.test",
        "--host",
        "10.0.0.1",
    ]
    assert cli.main([*new, "--json"]) == 0
    everyone = ["ca", "overseer", "w1", "w2", "client"]
    assert json.loads(capsys.readouterr().out) == {"directory": str(directory), "made": everyone}
    assert modes(directory) == {
        f"{name}.{kind}": mode for name in everyone for kind, mode in (("crt", 0o644), ("key", 0o600))
    }
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert names_of(directory / "w1.crt") == ("w1", "localhost", "db.test", "127.0.0.1", "::1", "10.0.0.1")
    assert names_of(directory / "client.crt") == ()
    before = {path: path.read_bytes() for path in directory.iterdir()}
    assert cli.main(new) == 1
    assert "ca.crt is there already" in capsys.readouterr().err
    assert cli.main(["certs", "add", str(directory), "--worker", "w2"]) == 1
    assert {path: path.read_bytes() for path in directory.iterdir()} == before
    assert cli.main(["certs", "add", str(directory), "--worker", "w3", "--client", "bob"]) == 0
    assert names_of(directory / "w3.crt")[0] == "w3"
    assert cli.main(["certs", "renew", str(directory), "--days", "7"]) == 0
    assert "renewed in " in capsys.readouterr().out
    assert names_of(directory / "w1.crt") == ("w1", "localhost", "db.test", "127.0.0.1", "::1", "10.0.0.1")
    after = {path: path.read_bytes() for path in before}
    assert {path.stem for path in before if after[path] == before[path]} == {"ca"}
    facts = certificates.facts((directory / "w1.crt").read_bytes())
    assert 7 < (facts.ends - facts.begins).total_seconds() / 86400 < 7.1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["add", "{}"], "name somebody with --worker or --client"),
        (["new", "{}", "--worker", "a b"], "'a b' is no name"),
        (["new", "{}", "--worker", "../a"], "'../a' is no name"),
        (["new", "{}", "--worker", "client"], "client is named twice"),
        (["new", "{}", "--worker", "ca"], "ca is named twice"),
        (["new", "{}", "--days", "0"], "must be more than 0"),
        (["new", "{}", "--days", "4000"], "at most 3650"),
        ([], "required: COMMAND"),
    ],
)
def test_what_cannot_be_made_is_refused(arguments: list[str], words: str, tmp_path: Path, capsys: Capture) -> None:
    directory = tmp_path / "certs"
    assert cli.main(["certs", *(each.format(directory) for each in arguments)]) == 2
    assert words in capsys.readouterr().err
    assert not directory.exists()


def test_without_an_authority_nothing_is_added(tmp_path: Path, capsys: Capture) -> None:
    assert cli.main(["certs", "add", str(tmp_path), "--client", "bob"]) == 1
    assert "ca.crt: No such file or directory" in capsys.readouterr().err


def test_files_are_named_by_arguments_first() -> None:
    environment = {"HANAS_TLS_CA": "a", "HANAS_TLS_CERT": "b", "HANAS_TLS_KEY": "c", "HANAS_TLS_CLIENT_CA": "d"}
    assert tls_files(environment=environment).variables() == {
        "HANAS_TLS_CA": Path("a"),
        "HANAS_TLS_CERT": Path("b"),
        "HANAS_TLS_KEY": Path("c"),
    }
    given = tls_files("x", "y", "z", environment)
    assert (given.trust, given.certificate, given.key) == (Path("x"), Path("y"), Path("z"))
    assert tls_files("x", None, None, environment).certificate == Path("b")
    with pytest.raises(ValueError, match="HANAS_TLS_CERT is set and HANAS_TLS_KEY is not"):
        tls_files(None, "y", None, environment)
    assert tls_files(environment={}).client_scheme == "http"
    assert tls_files("x", environment={}).client_scheme == "https"
    assert addresses(None, "a:1,http://b:2", {}, "https") == ((), ("https://a:1", "http://b:2"))
    assert addresses(None, None, {}, "https") == (("https://localhost:4000",), ())


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("client") / "certs"
    assert cli.main(["certs", "new", str(directory), "--worker", "w1"]) == 0
    return directory


class _Worker(BaseHTTPRequestHandler):
    """Answers with the name in the certificate that was shown."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        certificate = self.connection.getpeercert() or {}
        name = dict(pair for relative in certificate.get("subject", ()) for pair in relative).get(
            "commonName", "nobody"
        )
        self.send_response(200)
        self.send_header("Content-Length", str(len(name)))
        self.send_header("ETag", '"1-1"')
        self.end_headers()
        self.wfile.write(name.encode())


@pytest.fixture
def worker(pki: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Worker)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    server.daemon_threads = True
    files = files_of.TlsFiles(certificate=pki / "w1.crt", key=pki / "w1.key", client_trust=pki / "ca.crt")
    server.socket = files_of.listening(files, ssl.CERT_OPTIONAL).wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://localhost:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_both_clients_trust_the_authority_and_show_a_certificate(pki: Path, worker: str) -> None:
    shown: Any = {"cacert": pki / "ca.crt", "cert": pki / "client.crt", "key": pki / "client.key"}

    async def ask() -> bytes:
        async with AsyncClient((), worker, **shown) as client:
            return (await client.get("a")).value

    with Client((), worker, **shown) as client:
        assert client.get("a").value == b"client"
    assert asyncio.run(ask()) == b"client"
    with Client((), worker, cacert=pki / "ca.crt") as client:
        assert client.get("a").value == b"nobody"


def test_a_server_of_another_authority_gets_nothing(worker: str) -> None:
    with (
        httpx.Client(verify=transport.trust(), trust_env=False, timeout=None) as http,
        pytest.raises(httpx.ConnectError, match="certificate") as failure,
    ):
        http.get(worker)
    assert not transport.failure(failure.value).sent


def test_the_command_shows_the_same(pki: Path, worker: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--cacert", str(pki / "ca.crt"), "--cert", str(pki / "client.crt"), "--key", str(pki / "client.key")]
    address = worker.removeprefix("https://")
    assert cli.main(["get", "a", "--server", address, *options]) == 0
    monkeypatch.setenv("HANAS_TLS_CA", str(pki / "ca.crt"))
    assert cli.main(["get", "a", "--server", address]) == 0
    assert capsys.readouterr().out == "clientnobody"
    assert cli.main(["get", "a", "--server", address, "--cacert", str(pki / "none")]) == 2
    assert cli.main(["get", "a", "--server", address, "--cert", str(pki / "client.crt")]) == 2
    assert "No such file" in (error := capsys.readouterr().err)
    assert "HANAS_TLS_CERT is set and HANAS_TLS_KEY is not" in error
