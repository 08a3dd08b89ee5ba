"""What is said about a process that anybody reaches."""

import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from hanas_serving import settings
from hanas_serving.callers import Callers
from hanas_serving.exposure import Exposure
from hanas_serving.server import bind
from hanas_serving.settings import SettingError
from hanas_serving.tls_files import TlsFiles
from tests.unit.worker.ports import free_port

ENCRYPTED = TlsFiles(certificate=Path("tls.crt"), key=Path("tls.key"))


def exposed(
    environment: Mapping[str, str], callers: Callers, tls: TlsFiles = ENCRYPTED
) -> tuple[list[str], dict[str, float]]:
    exposure = Exposure(settings.read(environment, 4000), tls, callers)
    [family] = exposure.collect()
    values = {sample.labels["what"]: sample.value for sample in family.samples}
    return [notice.split(" ")[0] for notice in exposure.notices], values


def test_what_is_open_to_other_machines_is_told() -> None:
    both = ["HANAS_SECRET_FILE", "HANAS_CLIENT_TOKEN_FILE"]
    assert exposed({}, Callers()) == (both, {"operate": 1, "write": 1, "traffic": 0})
    assert exposed({}, Callers(["s"])) == (both[1:], {"operate": 0, "write": 1, "traffic": 0})
    assert exposed({}, Callers(["s"], ["t"])) == ([], {"operate": 0, "write": 0, "traffic": 0})
    assert exposed({}, Callers(certified=True)) == ([], {"operate": 0, "write": 0, "traffic": 0})
    plain = ["HANAS_TLS_CERT"]
    assert exposed({}, Callers(["s"], ["t"]), TlsFiles()) == (plain, {"operate": 0, "write": 0, "traffic": 1})
    for address in ("localhost", "127.0.0.1", "::1"):
        nothing = {"operate": 0, "write": 0, "traffic": 0}
        assert exposed({"HANAS_LISTEN": address}, Callers(), TlsFiles()) == ([], nothing)
    for address in ("0.0.0.0", "::", "10.0.0.1"):
        assert exposed({"HANAS_LISTEN": address}, Callers(), TlsFiles())[0] == both + plain


@pytest.mark.parametrize("address", ["here", "10.0.0", "localhost:4000", "*"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(SettingError, match=r"HANAS_LISTEN=.*must be localhost"):
        settings.read({"HANAS_LISTEN": address}, 4000)


def test_a_process_listens_where_it_is_told() -> None:
    port = free_port()
    with bind(port, "PORT", "127.0.0.1") as bound:
        assert bound.getsockname() == ("127.0.0.1", port)
        with pytest.raises(SettingError, match="is taken by another program"):
            bind(port, "PORT", "127.0.0.1")
    with bind(port, "PORT") as bound, socket.create_connection(("127.0.0.1", port)):
        assert bound.getsockname()[1] == port
    with pytest.raises(SettingError, match=r"HANAS_LISTEN=192\.0\.2\.1: this machine has no such address"):
        bind(port, "PORT", "192.0.2.1")
