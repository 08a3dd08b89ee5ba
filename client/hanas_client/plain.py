"""Text of others on a terminal: control characters are shown and not obeyed.

Keys, names and messages come from clients of the cluster. An escape sequence in one could rewrite what a person sees,
and a newline could pretend to be a line of its own.
"""

from __future__ import annotations

import unicodedata

_OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: controls, formats (direction overrides), surrogates, separators of lines and paragraphs."""


def plain(text: str) -> str:
    r"""Return ``text`` with an escape such as ``\x1b`` in place of each character that a terminal obeys."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def plain_json(text: str) -> str:
    """Return a JSON document with JSON's own escape for each such character; within strings only, so it is equal."""
    if text.isprintable():
        return text
    return "".join(
        f"\\u{ord(one):04x}" if ord(one) < 0x10000 and unicodedata.category(one) in _OBEYED else one for one in text
    )


def is_obeyed(value: bytes) -> bool:
    """Return whether a terminal would obey parts of ``value``: controls beside line breaks and tabs, or no UTF-8."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return True
    return any(unicodedata.category(one) == "Cc" and one not in "\t\n\r" for one in text)


def _shown(one: str) -> str:
    return one.encode("unicode_escape").decode() if unicodedata.category(one) in _OBEYED else one
