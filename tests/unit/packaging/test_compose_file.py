"""compose.yaml, as far as it can be judged without an engine; tests/compose plays it."""

import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.unit.packaging.documents import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
PUBLISHED = "${{HANAS_PUBLISH:-127.0.0.1}}:{0}:{0}"
WORKERS = [name for name in SERVICES if name.startswith("worker-")]


TLS: dict[str, Any] = yaml.safe_load((ROOT / "compose.tls.yaml").read_text(encoding="utf-8"))["services"]


ETCD: dict[str, Any] = yaml.safe_load((ROOT / "compose.etcd.yaml").read_text(encoding="utf-8"))["services"]


def test_three_workers_and_one_to_add() -> None:
    assert [name for name in WORKERS if "profiles" not in SERVICES[name]] == ["worker-1", "worker-2", "worker-3"]
    assert SERVICES["worker-4"]["profiles"] == ["more"]


@pytest.mark.parametrize("name", WORKERS)
def test_keepalives_travel_on_the_network_link_only(name: str) -> None:
    service = SERVICES[name]
    address = urlsplit(service["environment"]["LINK_URL"])
    assert service["networks"]["link"]["aliases"] == [address.hostname]
    assert service["networks"]["all"] is None
    assert str(address.port) == service["environment"]["LINK_PORT"]
    assert COMPOSE["networks"]["link"] == {"internal": True}


@pytest.mark.parametrize("name", WORKERS)
def test_clients_are_redirected_to_the_published_port(name: str) -> None:
    environment = SERVICES[name]["environment"]
    assert environment["WORKER_ID"] == name
    assert environment["ADVERTISE_URL"] == f"http://${{HANAS_HOST:-localhost}}:{environment['PORT']}"
    assert SERVICES[name]["ports"] == [PUBLISHED.format(environment["PORT"])]


def test_nobody_shares_a_name_or_a_port() -> None:
    for variable in ("WORKER_ID", "PORT", "ADVERTISE_URL", "LINK_URL"):
        values = [SERVICES[name]["environment"][variable] for name in WORKERS]
        assert len(set(values)) == len(values)


@pytest.mark.parametrize("name", SERVICES)
def test_everybody_is_confined_and_shares_the_volume(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    secrets = "secrets:/secrets" if name == "overseer" else "secrets:/secrets:ro"
    assert service["volumes"] == ["communication:/communication", secrets]
    assert service["environment"]["HANAS_SECRET_FILE"] == "/secrets/components"
    assert service["build"]["target"] == name.partition("-")[0]


def test_the_overseer_makes_a_secret_once_before_workers_start(tmp_path: Path) -> None:
    for name in WORKERS:
        assert SERVICES[name]["depends_on"] == {"overseer": {"condition": "service_healthy"}}
    assert SERVICES["overseer"]["ports"] == [PUBLISHED.format(4000)]
    program = tmp_path / "hanas-overseer"
    program.write_text(f"#!{sys.executable}\nprint('started')\n")
    program.chmod(0o755)
    secret = tmp_path / "components"
    environment = {"HANAS_SECRET_FILE": str(secret), "PATH": str(tmp_path)}
    [_, *arguments] = SERVICES["overseer"]["entrypoint"]
    seen = set()
    for _ in range(2):
        done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == "started\n"
        seen.add(secret.read_text())
    [content] = seen
    assert len(content.strip()) >= 40
    assert secret.stat().st_mode & 0o777 == 0o600


def test_over_tls_everybody_has_its_own_files_and_nobody_the_authoritys_key() -> None:
    assert set(TLS) == {"certificates", *SERVICES}
    mounted = set(TLS["certificates"]["volumes"])
    for name in SERVICES:
        assert TLS[name]["volumes"] == [f"tls-{name}:/tls:ro"]
        assert f"tls-{name}:/tls/{name}" in mounted
        assert TLS[name]["depends_on"] == {"certificates": {"condition": "service_completed_successfully"}}
        files = {
            variable: path for variable, path in TLS[name]["environment"].items() if variable.startswith("HANAS_TLS_")
        }
        assert set(files) == {"HANAS_TLS_CERT", "HANAS_TLS_KEY", "HANAS_TLS_CA", "HANAS_TLS_CLIENT_CA"}
    assert mounted - {f"tls-{name}:/tls/{name}" for name in SERVICES} == {"authority:/authority"}


@pytest.mark.parametrize("name", WORKERS)
def test_over_tls_a_worker_has_the_same_addresses(name: str) -> None:
    plain, secured = SERVICES[name]["environment"], TLS[name]["environment"]
    plain = {**plain, "HANAS_ETCD_URL": ETCD[name]["environment"]["HANAS_ETCD_URL"]}
    for variable in ("OVERSEER_IP", "ADVERTISE_URL", "LINK_URL", "HANAS_ETCD_URL"):
        assert secured[variable] == plain[variable].replace("http://", "https://")
    assert name in TLS["certificates"]["entrypoint"][2]


def test_etcds_api_is_published_by_every_worker_and_has_one_name_inside() -> None:
    assert list(ETCD) == WORKERS
    published = [service["ports"] for service in ETCD.values()]
    assert published == [[f"${{HANAS_PUBLISH:-127.0.0.1}}:{port}:2379"] for port in (2379, 22379, 32379, 42379)]
    for name, service in ETCD.items():
        url = f"http://{name}:2379"
        assert service["environment"] == {"HANAS_ETCD_PORT": "2379", "HANAS_ETCD_URL": url}
        assert service["networks"] == {"all": {"aliases": ["etcd"]}}
    assert "--host=etcd" in TLS["certificates"]["entrypoint"][2], "the main answers, whichever worker is called"
