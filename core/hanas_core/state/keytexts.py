"""Keys are bytes. Most are UTF-8, and texts for whoever takes nothing else (docs/protocol.md, section 3)."""


def is_text(key: bytes) -> bool:
    """Return whether a key is UTF-8."""
    return key.isascii() or isinstance(text_or_bytes(key), str)


def text_or_bytes(key: bytes) -> str | bytes:
    """Return a key as versions without revisions write it: as a text; one that is no UTF-8 as it is."""
    try:
        return key.decode()
    except UnicodeDecodeError:
        return key


def shown(key: bytes) -> str:
    """Return a key as people are shown it: with escapes for what is no UTF-8."""
    return key.decode(errors="backslashreplace")
