"""Every name in the folder, and the rules for ids that become part of names."""

import re
import secrets

CLUSTER = "cluster.json"
CLAIMS, MANIFESTS, SEGMENTS, SNAPSHOTS = "claims", "manifests", "segments", "snapshots"
MAILBOXES, MEMBERS, TEMPORARY = "mailboxes", "members", "tmp"
MERGED_FROM = 1_000_001
"""Segments with this number or a higher one were made by compaction in their epoch and are no part of its own chain."""
DIRECTORIES = (CLAIMS, MANIFESTS, SEGMENTS, SNAPSHOTS, MAILBOXES, MEMBERS, TEMPORARY)

MANIFEST_PATTERN = r"^manifests/[0-9a-z-]{1,128}$"
_MEMBER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_CLAIM = re.compile(r"[0-9]{10}")
_MANIFEST = re.compile(r"([0-9]{10})-[0-9a-f]+")
_MOMENTARY = re.compile(r"[.](?:(?:refresh|check)-.*|nfs[0-9a-f]{24})")
_SEGMENT = re.compile(r"([0-9]{10})-([0-9]{6,7})")
_SNAPSHOT = re.compile(r"[0-9]{10}-[0-9]{7}-[0-9]{10}")
_REGISTRATION = re.compile(r"[0-9]{3}|[1-9][0-9]{3,}")
_NONCE = re.compile(r"[0-9a-f]{16,64}")


def nonce() -> str:
    """Return 16 random bytes in hexadecimal, from the operating system."""
    return secrets.token_hex(16)


def is_member(text: str) -> bool:
    """Return whether ``text`` can be a member id: 1 to 128 letters, digits, ``.``, ``_``, ``-``, no sign first."""
    return _MEMBER.fullmatch(text) is not None


def is_nonce(text: str) -> bool:
    """Return whether ``text`` can be an incarnation or a folder id: 16 to 64 lower-case hexadecimal digits."""
    return _NONCE.fullmatch(text) is not None


def claim(epoch: int) -> str:
    """Name of the claim file of an epoch."""
    return f"{CLAIMS}/{epoch:010d}"


def epoch_of_claim(base: str) -> int | None:
    """Return the epoch of a name in the directory of claims, None if it is no claim's."""
    return int(base) if _CLAIM.fullmatch(base) else None


def manifest(epoch: int, nonce: str) -> str:
    """Name of a manifest of an epoch; ``nonce``: new."""
    return f"{MANIFESTS}/{epoch:010d}-{nonce}"


def epoch_of_manifest(base: str) -> int | None:
    """Return the epoch of a name in the directory of manifests, None if it is no manifest's."""
    match = _MANIFEST.fullmatch(base)
    return None if match is None else int(match[1])


def is_momentary(base: str) -> bool:
    """Return whether a file of this name, in any directory, is there for a moment only.

    HANas makes one to refresh a look-up. An NFS client gives ``.nfs`` and digits to a file that was removed while a
    process has it open, and a client that crashed leaves it.
    """
    return _MOMENTARY.fullmatch(base) is not None


def segment(epoch: int, number: int) -> str:
    """Name of the ``number``-th segment (from 1) that the main of an epoch wrote; see also `MERGED_FROM`."""
    return f"{SEGMENTS}/{epoch:010d}-{number:06d}"


def segment_of(base: str) -> tuple[int, int] | None:
    """Return (epoch, number) of a name in the directory of segments, None if it is no segment's."""
    match = _SEGMENT.fullmatch(base)
    return None if match is None else (int(match[1]), int(match[2]))


def member(number: int) -> str:
    """Name of the registration of this number, which gives a mailbox slot to a member."""
    return f"{MEMBERS}/{number:03d}"


def number_of_registration(base: str) -> int | None:
    """Return the number of a name in the directory of members, None if it is no registration's."""
    return int(base) if _REGISTRATION.fullmatch(base) else None


def is_snapshot(base: str) -> bool:
    """Return whether a name in the directory of snapshots is a snapshot's."""
    return _SNAPSHOT.fullmatch(base) is not None


def temporary(owner: str, incarnation: str, nonce: str) -> str:
    """Name of a temporary file of one incarnation; ``nonce``: new."""
    return f"{TEMPORARY}/{owner}~{incarnation}~{nonce}"


def owner_of_temporary(name: str) -> tuple[str, str] | None:
    """Return (owner, incarnation) of a name in the temporary directory, None if it follows another scheme."""
    parts = name.split("~")
    return (parts[0], parts[1]) if len(parts) == 3 else None
