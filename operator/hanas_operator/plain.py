"""From structs to plain JSON values, to compare with answers of the API server."""

from typing import Any

import msgspec


def plain(value: Any) -> Any:
    """Return ``value`` as dicts, lists, strings and numbers."""
    return msgspec.json.decode(msgspec.json.encode(value))
