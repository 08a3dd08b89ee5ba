"""The authority and the certificate that the operator makes, over the years."""

from datetime import UTC, datetime, timedelta

from hanas_operator.tls import issuing
from hanas_serving import certificates

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("demo", "worker-0", "*.demo-workers.shop.svc")


def test_a_certificate_is_renewed_after_two_thirds_of_its_time() -> None:
    authority = issuing.advance(None, "demo", NOW)
    made = issuing.leaf(None, authority, NAMES, NOW)
    assert set(certificates.facts(made.certificate).names) == set(NAMES)
    assert issuing.leaf(made, authority, NAMES, NOW + timedelta(days=59)) == made
    assert issuing.leaf(made, authority, NAMES, NOW + timedelta(days=61)) != made


def test_a_certificate_follows_its_names_and_its_authority() -> None:
    authority = issuing.advance(None, "demo", NOW)
    made = issuing.leaf(None, authority, NAMES, NOW)
    assert issuing.leaf(made, authority, (*NAMES, "worker-1"), NOW) != made
    other = issuing.advance(None, "demo", NOW)
    assert not issuing.is_signed(made, other.present)
    assert issuing.leaf(made, other, NAMES, NOW) != made


def test_an_authority_is_followed_in_steps_and_each_is_trusted_in_time() -> None:
    first = issuing.advance(None, "demo", NOW)
    assert issuing.advance(first, "demo", NOW + timedelta(days=365)) == first
    due = NOW + timedelta(days=certificates.AUTHORITY_DAYS * 0.7)
    second = issuing.advance(first, "demo", due)
    assert second.present == first.present
    assert second.following is not None
    assert second.trust == first.present.certificate + second.following.certificate
    assert issuing.advance(second, "demo", due + timedelta(minutes=30)) == second, "pods learn to trust it"
    third = issuing.advance(second, "demo", due + timedelta(hours=2))
    assert third.present == second.following
    assert first.present.certificate in third.trust, "what it signed is in use until the certificate is renewed"
    last = issuing.advance(third, "demo", NOW + timedelta(days=certificates.AUTHORITY_DAYS + 1))
    assert last.trust == third.present.certificate
