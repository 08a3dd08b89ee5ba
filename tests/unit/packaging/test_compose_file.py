"""compose.yaml, as far as it can be judged without an engine; tests/compose plays it."""

from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.unit.packaging.documents import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
WORKERS = [name for name in SERVICES if name.startswith("worker-")]


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
    assert SERVICES[name]["ports"] == [f"{environment['PORT']}:{environment['PORT']}"]


def test_nobody_shares_a_name_or_a_port() -> None:
    for variable in ("WORKER_ID", "PORT", "ADVERTISE_URL", "LINK_URL"):
        values = [SERVICES[name]["environment"][variable] for name in WORKERS]
        assert len(set(values)) == len(values)


@pytest.mark.parametrize("name", SERVICES)
def test_everybody_is_confined_and_shares_the_volume(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["volumes"] == ["communication:/communication"]
    assert service["build"]["target"] == name.partition("-")[0]
