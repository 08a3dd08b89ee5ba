"""The time of day, for people."""

from datetime import UTC, datetime


def wall_clock() -> str:
    """Return the time of day in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
