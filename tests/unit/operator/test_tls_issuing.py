"""The authority and the certificates that the operator makes, over the years; and whether pods accept each other."""

import ssl
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec import structs

from hanas_operator.tls import issuing
from hanas_operator.tls.issuing import Authority, Leaf
from hanas_serving import certificates, tls_files
from hanas_serving.certificates import Pair
from hanas_serving.tls_files import TlsFiles
from tests.unit.tls.handshakes import shaken

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEAF = Leaf("demo", ("demo", "worker-0", "*.demo-workers.shop.svc"))
CLIENT = Leaf("demo-client")
DUE = NOW + timedelta(days=certificates.AUTHORITY_DAYS * 0.7)


def new(now: datetime = NOW) -> Authority:
    return issuing.advance(None, "demo", now, b"")


def later(authority: Authority, now: datetime, *, forced: bool = False) -> Authority:
    """Advance, when the pods have been given what they are to trust."""
    return issuing.advance(authority, "demo", now, authority.trust, forced=forced)


@pytest.mark.parametrize("leaf", [LEAF, CLIENT])
def test_a_certificate_is_renewed_after_two_thirds_of_its_time(leaf: Leaf) -> None:
    authority = new()
    made = issuing.renewed(None, authority, leaf, NOW)
    facts = certificates.facts(made.certificate)
    assert (facts.subject, set(facts.names)) == (f"CN={leaf.subject}", set(leaf.names))
    assert issuing.renewed(made, authority, leaf, NOW + timedelta(days=59)) == made
    assert issuing.renewed(made, authority, leaf, NOW + timedelta(days=61)) != made
    assert issuing.renewed(made, authority, leaf, NOW, forced=True) != made


def test_a_certificate_follows_names_that_are_added_and_keeps_others() -> None:
    authority = new()
    made = issuing.renewed(None, authority, LEAF, NOW)
    more = structs.replace(LEAF, names=(*LEAF.names, "worker-1"))
    assert issuing.renewed(made, authority, more, NOW) != made
    assert issuing.renewed(made, authority, structs.replace(LEAF, names=("demo",)), NOW) == made


def test_an_authority_is_followed_in_steps_and_each_is_trusted_in_time() -> None:
    first = new()
    assert later(first, NOW + timedelta(days=365)) == first
    second = later(first, DUE)
    assert second.present == first.present
    assert second.following is not None
    assert second.trust == first.present.certificate + second.following.certificate
    assert later(second, DUE + timedelta(minutes=30)) == second, "pods learn to trust it"
    third = later(second, DUE + timedelta(hours=2))
    assert third.present == second.following
    assert first.present.certificate in third.trust, "what it signed is in use until the certificate is renewed"
    last = later(third, NOW + timedelta(days=certificates.AUTHORITY_DAYS + 1))
    assert last.trust == third.present.certificate


def test_an_authority_that_was_told_to_nobody_does_not_sign() -> None:
    first = new()
    begun = later(first, DUE)
    late = DUE + timedelta(hours=5)
    again = issuing.advance(begun, "demo", late, first.trust)
    assert again.present == first.present
    assert again.following is not None
    assert begun.following is not None
    assert again.following != begun.following, "its hour begins when it is told"
    assert later(again, late + timedelta(hours=1)).present == again.following


def test_a_renewal_that_is_asked_for_is_one_whenever_it_is_due() -> None:
    first = new()
    asked = later(first, NOW + timedelta(days=1), forced=True)
    assert asked.following is not None
    assert later(asked, NOW + timedelta(days=1), forced=True) == asked


def test_what_a_lost_authority_signed_is_used_until_all_trust_another_one(tmp_path: Path) -> None:
    when = datetime.now(UTC) - timedelta(hours=4)
    lost = new(when - timedelta(days=3))
    made = issuing.renewed(None, lost, LEAF, when - timedelta(days=3))
    found = issuing.advance(None, "demo", when, lost.trust)
    assert lost.present.certificate in found.trust
    assert issuing.renewed(made, found, LEAF, when) == made
    other = issuing.renewed(made, found, LEAF, when + timedelta(hours=2))
    assert issuing.is_signed(other, found.present)
    assert accepts(tmp_path, (made, found.trust), (other, found.trust))


def test_pods_accept_each_other_at_every_step_however_late_one_of_them_reads_its_files(tmp_path: Path) -> None:
    begin = datetime.now(UTC) - timedelta(hours=4)
    authority = new(begin)
    steps = [(issuing.renewed(None, authority, LEAF, begin), authority.trust)]
    for hours in (0, 1, 2, 3):
        when = begin + timedelta(hours=hours)
        authority = later(authority, when, forced=hours == 0)
        steps.append((issuing.renewed(steps[-1][0], authority, LEAF, when), authority.trust))
    first, *_, last = steps
    assert issuing.is_signed(last[0], authority.present)
    assert not issuing.is_signed(first[0], authority.present)
    assert not accepts(tmp_path, first, last), "without the steps between"
    for one, other in pairwise(steps):
        assert accepts(tmp_path, one, other)
        assert accepts(tmp_path, other, one)


def accepts(directory: Path, client: tuple[Pair, bytes], server: tuple[Pair, bytes]) -> bool:
    """Return whether two processes with these files speak with each other; each shows its certificate."""
    calling = tls_files.calling(written(directory / "client", *client))
    listening = tls_files.listening(written(directory / "server", *server), ssl.CERT_REQUIRED)
    return "demo" in shaken(calling, listening, "demo")


def written(directory: Path, pair: Pair, trust: bytes) -> TlsFiles:
    directory.mkdir(exist_ok=True)
    content = {"certificate": pair.certificate, "key": pair.key, "trust": trust}
    paths = {name: directory / name for name in content}
    for name, path in paths.items():
        path.write_bytes(content[name])
    return TlsFiles(**paths, client_trust=paths["trust"])
