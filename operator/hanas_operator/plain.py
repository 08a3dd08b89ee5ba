"""From structs to what JSON knows, and nothing else: what is compared with an answer of the API server has lists."""

from typing import Any

import msgspec


def plain(value: Any) -> Any:
    """Return ``value`` as dicts, lists, texts and numbers."""
    return msgspec.json.decode(msgspec.json.encode(value))
