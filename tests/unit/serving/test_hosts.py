"""Under which names a process is asked: those that no page of another site can point here."""

from pathlib import Path

import pytest

from hanas_serving import hosts, settings
from hanas_serving.hosts import Hosts
from hanas_serving.settings import SettingError

OURS = Hosts(
    ["Overseer.Example.com", "*.apps.example.org"], ["node-7.example.net"], ["corp.example.", "svc.my.cluster"]
)


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"localhost",
        b"localhost:4000",
        b"LOCALHOST.:4000",
        b"a.localhost",
        b"127.0.0.1:3001",
        b"192.168.1.7",
        b"[::1]:3001",
        b"[fe80::1]",
        b"overseer",
        b"worker-1:3001",
        b"worker-1.link.internal:4001",
        b"nas.local",
        b"hanas-0.hanas.default.svc:3001",
        b"hanas-0.hanas.default.svc.cluster.local",
        b"hanas-0.hanas.default.svc.my.cluster",
        b"nas.corp.example:4000",
        b"node-7.example.net",
        b"overseer.example.com:80",
        b"a.b.apps.example.org",
    ],
)
def test_names_that_are_ours(host: bytes) -> None:
    assert OURS.knows(host)


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example",
        b"evil.com:3001",
        b"127.0.0.1.evil.com",
        b"localhost.evil.com",
        b"notcorp.example",
        b"apps.example.org",
        b"evilapps.example.org",
        b"www.overseer.example.com",
        b"a.svc.evil.com",
        b"\xff.\xfe",
        b"[::1].evil.com",
    ],
)
def test_names_that_are_not(host: bytes) -> None:
    assert not OURS.knows(host)


def test_all_names_are_known_if_someone_says_so_but_no_site_is_trusted_by_it() -> None:
    everything = Hosts(["*"])
    assert everything.knows(b"evil.com")
    assert not everything.lists("evil.com")
    assert OURS.lists("overseer.example.com")


def test_names_that_are_remembered_are_few() -> None:
    ours = Hosts()
    for number in range(1000):
        assert not ours.knows(b"%d.evil.com" % number)
    assert ours.knows.cache_info().currsize <= 64


def test_this_machines_names(tmp_path: Path) -> None:
    resolver = tmp_path / "resolv.conf"
    resolver.write_text("# a comment\n\nnameserver 10.0.0.1\nsearch a.example b.example.\ndomain c.example\nsearch .\n")
    assert hosts.search_domains(resolver) == ["a.example", "b.example.", "c.example"]
    assert hosts.search_domains(tmp_path / "missing") == []
    ours = hosts.of_this_machine(["listed.example"], ["http://main.example.edu:3001", "http://[::1]:3001"])
    assert all(ours.knows(host) for host in (b"listed.example", b"main.example.edu:3001", b"localhost"))


def test_numbers_with_thousands_of_digits() -> None:
    zeros = 5000 * "0"
    assert settings.port({"PORT": f"{zeros}80"}, "PORT", 1) == 80
    for wrong in (f"1{zeros}", f"{zeros}", "²"):
        with pytest.raises(SettingError, match="must be a port number from 1 to 65535") as refused:
            settings.port({"PORT": wrong}, "PORT", 1)
        assert len(str(refused.value)) < 120


def test_the_setting() -> None:
    assert settings.hosts({}) == ()
    assert settings.hosts({"HANAS_HOSTS": " a.example.com, *.b.org,*, [::1]"}) == (
        "a.example.com",
        "*.b.org",
        "*",
        "[::1]",
    )
    for wrong in ("a.example.com:80", "http://a", "*a.com", "a b", ".example.com"):
        with pytest.raises(SettingError, match=r"HANAS_HOSTS=.*must be names without a port"):
            settings.hosts({"HANAS_HOSTS": wrong})
