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


class Leaf(Struct, frozen=True):
    """What a certificate is for. ``names``: host names, addresses and member ids; without any it is a client's."""

    subject: str
    names: tuple[str, ...] = ()


def advance(
    authority: Authority | None, name: str, now: datetime, published: bytes, *, forced: bool = False
) -> Authority:
    """Return the authority as it must be at ``now``; the same one if nothing changes.

    ``published``: what the pods are given to trust so far; ``forced``: another one shall follow, whenever it is due.
    """
    if authority is None:  # or lost: what it signed stays trusted
        return Authority(certificates.authority(name, now), former=published)
    if authority.former and certificates.facts(authority.former).ends <= now:
        authority = structs.replace(authority, former=b"")
    following = authority.following
    if following is None or following.certificate not in published:  # whom nobody trusts must not sign soon
        due = forced or following is not None or is_due(certificates.facts(authority.present.certificate), now)
        return structs.replace(authority, following=certificates.authority(name, now)) if due else authority
    if is_spread(following, now):
        return Authority(following, None, authority.present.certificate)
    return authority


def renewed(present: Pair | None, authority: Authority, leaf: Leaf, now: datetime, *, forced: bool = False) -> Pair:
    """Return a certificate as it must be at ``now``; the same one if nothing changes."""
    if present is not None and not forced:
        facts = certificates.facts(present.certificate)
        foreign = not is_signed(present, authority.present) and is_spread(authority.present, now)
        if set(leaf.names) <= set(facts.names) and not is_due(facts, now) and not foreign:
            return present
    if leaf.names:
        return certificates.component(authority.present, leaf.subject, leaf.names, now, LEAF_DAYS)
    return certificates.client(authority.present, leaf.subject, now, LEAF_DAYS)


def is_due(facts: Facts, now: datetime) -> bool:
    """Return whether a certificate must be renewed."""
    return now >= facts.begins + (facts.ends - facts.begins) * _RENEWED_AT


def is_spread(authority: Pair, now: datetime) -> bool:
    """Return whether an authority was made long enough ago for all to trust it."""
    return certificates.facts(authority.certificate).begins + _SPREAD <= now


def is_signed(pair: Pair, authority: Pair) -> bool:
    """Return whether a certificate is one of this authority."""
    return certificates.is_signed(pair.certificate, authority.certificate)
