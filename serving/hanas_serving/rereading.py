"""What counts of a file that is read again while a process runs.

A file counts when two looks in a row have given the same, so one that is just being written is not taken for whole. One
that cannot be used changes nothing: what was read before stays in force, and the log tells it once.
"""

import logging
from collections.abc import Callable
from typing import Generic, TypeVar

LOOK_SECONDS = 1.0
"""Between two looks at a file."""
PATIENCE_SECONDS = 10.0
"""How long reading one may take."""
_log = logging.getLogger("hanas.serving")

Content = TypeVar("Content")


class Reread(Generic[Content]):
    """One file, and what the last look at it gave."""

    def __init__(self, variable: str, present: Content, words: Callable[[Content], str]) -> None:
        """``variable`` names the file; ``present``: what counts so far; ``words``: what that is, for people."""
        self.variable = variable
        self.present = present
        """What counts."""
        self.trouble = ""
        """What is wrong with the file; empty if nothing is."""
        self._words = words
        self._seen: Content | str = present
        """What stands in the file, or what is wrong with it."""

    def settled(self, seen: Content | str) -> Content | None:
        """Take note of what a look gave; return it if it counts from now on, in place of `present` before."""
        before, self._seen = self._seen, seen
        if seen != before:
            return None
        if isinstance(seen, str):
            if seen != self.trouble:
                _log.error("%s; %s that it had before stay in force", seen, self._words(self.present))
                self.trouble = seen
            return None
        if self.trouble:
            _log.info("%s: the file can be used again", self.variable)
            self.trouble = ""
        if seen == self.present:
            return None
        self.present = seen
        return seen
