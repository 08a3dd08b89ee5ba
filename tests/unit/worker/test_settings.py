"""What a worker makes of its environment."""

import socket
from pathlib import Path

import pytest

from hanas_core.members.member import IsolationPolicy
from hanas_core.members.timing import CLOUD, LAN
from hanas_serving import machine
from hanas_serving.settings import SettingError
from hanas_worker.host import settings


def test_nothing_said() -> None:
    read = settings.read({})
    host = socket.gethostname()
    assert (read.port, read.link_port, read.member) == (3001, 4001, f"{host}-3001")
    assert (read.advertise_url, read.link_url) == ("http://localhost:3001", "http://localhost:4001")
    assert read.overseers == ("http://localhost:4000",)
    assert (read.folder, read.folder_is_default, read.folder_id) == (Path("communication"), True, None)
    assert (read.secrets, read.client_tokens) == ((), ())
    assert (read.timing, read.policy) == (LAN, IsolationPolicy.STAY)
    assert (read.value_bytes, read.segment_bytes) == (8 << 20, 32 << 20)


def test_etcd_is_spoken_where_a_port_is_said() -> None:
    read = settings.read({})
    assert (read.etcd_port, read.etcd_url) == (None, "")
    read = settings.read({"HANAS_ETCD_PORT": "2379", "OVERSEER_IP": "http://overseer:4000"})
    assert (read.etcd_port, read.etcd_url) == (2379, f"http://{socket.gethostname()}:2379")
    read = settings.read({"HANAS_ETCD_PORT": "2379", "HANAS_ETCD_URL": "http://10.0.0.1:80"})
    assert read.etcd_url == "http://10.0.0.1:80"
    small = {"HANAS_ETCD_PORT": "2379", "HANAS_SEGMENT_BYTES": str(2 << 20), "HANAS_VALUE_BYTES": str(1 << 20)}
    with pytest.raises(SettingError, match=r"HANAS_SEGMENT_BYTES=2097152: must be at least 4194304"):
        settings.read(small)


def test_a_port_and_an_overseer() -> None:
    read = settings.read({"PORT": "3002", "OVERSEER_IP": "127.0.0.1:4000"})
    assert (read.port, read.link_port, read.member) == (3002, 4002, f"{socket.gethostname()}-3002")
    assert (read.advertise_url, read.link_url) == ("http://localhost:3002", "http://localhost:4002")
    assert read.overseers == ("http://127.0.0.1:4000",)


def test_with_an_overseer_elsewhere_a_worker_is_reached_by_its_host_name() -> None:
    host = socket.gethostname()
    for overseers in ("http://overseer:4000", "http://localhost:4000,http://overseer:4000"):
        read = settings.read({"PORT": "3002", "OVERSEER_IP": overseers})
        assert (read.advertise_url, read.link_url) == (f"http://{host}:3002", f"http://{host}:4002")


def test_everything_said(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s\n")
    (tmp_path / "tokens").write_text("a\nb\n")
    read = settings.read(
        {
            "PORT": "80",
            "LINK_PORT": "81",
            "WORKER_ID": "w.1_a-b",
            "ADVERTISE_URL": "https://clients.example/",
            "LINK_URL": "http://10.0.0.1:81",
            "OVERSEER_IP": "https://one,two:4000",
            "COMMUNICATION_FOLDER": str(tmp_path),
            "HANAS_FOLDER_ID": "0123456789abcdef",
            "HANAS_SECRET_FILE": str(tmp_path / "secret"),
            "HANAS_CLIENT_TOKEN_FILE": str(tmp_path / "tokens"),
            "HANAS_PRESET": "cloud",
            "HANAS_ISOLATION_POLICY": "StepDown",
            "HANAS_VALUE_BYTES": "1048576",
            "HANAS_SEGMENT_BYTES": "2097152",
        }
    )
    assert (read.port, read.link_port, read.member) == (80, 81, "w.1_a-b")
    assert (read.advertise_url, read.link_url) == ("https://clients.example", "http://10.0.0.1:81")
    assert read.overseers == ("https://one", "http://two:4000")
    assert (read.folder, read.folder_is_default, read.folder_id) == (tmp_path, False, "0123456789abcdef")
    assert (read.secrets, read.client_tokens) == (("s",), ("a", "b"))
    assert (read.timing, read.policy) == (CLOUD, IsolationPolicy.STEP_DOWN)
    assert (read.value_bytes, read.segment_bytes) == (1 << 20, 2 << 20)


def test_the_memory_for_bodies_and_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    mib = 1 << 20
    for limit, default, cache in ((512, 128, 128), (64, 32, 16), (1 << 20, 1024, 256)):
        monkeypatch.setattr(machine, "memory_limit", lambda limit=limit: limit * mib)
        read = settings.read({})
        assert (read.memory_bytes, read.cache_bytes) == (default * mib, cache * mib)
        assert read.queue_bytes == min(64, default // 4) * mib
    monkeypatch.setattr(machine, "memory_limit", lambda: 512 * mib)
    large = {"HANAS_VALUE_BYTES": str(64 * mib), "HANAS_SEGMENT_BYTES": str(128 * mib)}
    assert settings.read(large).memory_bytes == 256 * mib
    assert settings.read({"HANAS_MEMORY": str(32 * mib)}).memory_bytes == 32 * mib
    for wrong in (
        {"HANAS_MEMORY": str(32 * mib - 1)},
        {**large, "HANAS_MEMORY": str(255 * mib)},
        {"HANAS_MEMORY": "1G"},
    ):
        with pytest.raises(SettingError, match="HANAS_MEMORY="):
            settings.read(wrong)
