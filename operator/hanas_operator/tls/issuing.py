"""What an authority and a certificate of the operator become with time: pure functions.

An authority is followed by another one in steps, so that no process meets a certificate that it does not trust: first
all trust both, `_SPREAD` later the new one signs, and the old one is trusted until its end.
"""

from datetime import datetime, timedelta

from msgspec import Struct, structs

from hanas_serving import certificates
from hanas_serving.certificates import Pair
from hanas_serving.facts import Facts

LEAF_DAYS = 90.0
_RENEWED_AT = 2 / 3
"""The part of a certificate's time after which it is renewed."""
_SPREAD = timedelta(hours=1)
"""Ample for a kubelet to show a changed Secret to its pods, and for these to read it again."""


class Authority(Struct, frozen=True):
    """Who signs, who will, and who did; each as PEM."""

    present: Pair
    following: Pair | None = None
    former: bytes = b""
    """The certificate of the last one."""

    @property
    def trust(self) -> bytes:
        """The certificates that all must trust."""
        return self.present.certificate + (b"" if self.following is None else self.following.certificate) + self.former


def advance(authority: Authority | None, name: str, now: datetime) -> Authority:
    """Return the authority as it must be at ``now``; the same one if nothing changes."""
    if authority is None:
        return Authority(certificates.authority(name, now))
    following = authority.following
    if following is not None and certificates.facts(following.certificate).begins + _SPREAD <= now:
        return Authority(following, None, authority.present.certificate)
    if authority.former and certificates.facts(authority.former).ends <= now:
        authority = structs.replace(authority, former=b"")
    if following is None and is_due(certificates.facts(authority.present.certificate), now):
        return structs.replace(authority, following=certificates.authority(name, now))
    return authority


def leaf(present: Pair | None, authority: Authority, names: tuple[str, ...], now: datetime) -> Pair:
    """Return the certificate of the components as it must be at ``now``; the same one if nothing changes."""
    if present is not None and is_signed(present, authority.present):
        facts = certificates.facts(present.certificate)
        if set(facts.names) == set(names) and not is_due(facts, now):
            return present
    first, *others = names
    return certificates.component(authority.present, first, others, now, LEAF_DAYS)


def is_due(facts: Facts, now: datetime) -> bool:
    """Return whether a certificate must be renewed."""
    return now >= facts.begins + (facts.ends - facts.begins) * _RENEWED_AT


def is_signed(pair: Pair, authority: Pair) -> bool:
    """Return whether a certificate is one of this authority."""
    return certificates.is_signed(pair.certificate, authority.certificate)
