"""A call to whoever listens."""

from collections.abc import Callable


class Bell:
    """Calls all listeners, in the order in which they came; they must not raise."""

    def __init__(self) -> None:
        """Have no listeners."""
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener``, too."""
        self._listeners.append(listener)

    def __call__(self) -> None:
        """Call them."""
        for listener in self._listeners:
            listener()
