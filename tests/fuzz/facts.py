"""What the fuzzing process is told of the cluster, and what it tells back."""

from urllib.parse import unquote

import msgspec

FACTS_VARIABLE = "HANAS_FUZZ_FACTS"
KEPT = "kept/"
"""Keys that begin so are written by the test alone."""
STRANGERS = ("stranger-1", "stranger-2", "stranger-3", "stranger-4")
"""Members that are registered by the fuzzing and never live."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster as it is while it is fuzzed; nothing here changes by it."""

    folder_id: str
    epoch: int
    main: str
    incarnation: str
    """The main's."""
    members: tuple[str, ...]
    journal: str
    """The file to which acknowledged writes are appended as JSON lines."""


class Acknowledged(msgspec.Struct, frozen=True):
    """A write that a worker said it had done."""

    path: str
    """As it was sent, percent-encoded."""
    etag: str | None
    """None: it was deleted."""


def is_kept(key: str) -> bool:
    """Tell whether a key is one of the test's own."""
    return unquote(key).startswith(KEPT)
