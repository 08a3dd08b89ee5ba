"""Server-sent events (HTML standard, section 9.2): parsing without I/O. The client and the operator read them.

The image of the client holds this module and no other one of the package, so it imports the standard library only.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its name (`cluster`, `takeover`, `alert`, `alert-cleared`), its id and its JSON document."""

    name: str
    data: str
    id: str | None = None


MOST_BYTES = 16 << 20
"""The largest event: many times a document of 256 members."""


@dataclass(slots=True)
class EventParser:
    """Events from the bytes of a stream. `last_id` is the id after which a new connection resumes."""

    last_id: str | None = None
    _rest: bytes = b""
    _size: int = 0
    """Bytes since the end of the last event."""
    _name: str = ""
    _data: list[str] = field(default_factory=list)

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that `chunk` completes. Raises ValueError for an event of more than `MOST_BYTES`."""
        if self._size > MOST_BYTES:
            raise ValueError(f"an event has more than {MOST_BYTES} bytes")
        self._size += len(chunk)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        events = [self._line(line.removesuffix(b"\r").decode(errors="replace")) for line in lines]
        return [event for event in events if event is not None]

    def reset(self) -> None:
        """Discard an incomplete event: its connection broke."""
        self._rest, self._name, self._data, self._size = b"", "", [], 0

    def _line(self, line: str) -> Event | None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "" if not line:
                event = Event(self._name or "message", "\n".join(self._data), self.last_id) if self._data else None
                self._name, self._data, self._size = "", [], 0
                return event
            case "event":
                self._name = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self.last_id = value
            case _:  # a comment, or a field without a meaning here
                pass
        return None
