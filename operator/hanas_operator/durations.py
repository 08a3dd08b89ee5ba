"""Durations in the format of Go (``1m30s``), and points in time in that of the Kubernetes API."""

import re
from datetime import UTC, datetime, timedelta

_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """Return a duration in seconds. Raises ValueError."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration such as 30s or 1m30s")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def written(when: datetime) -> str:
    """Return a point in time in the format of metav1.Time: whole seconds, UTC."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def precisely(when: datetime) -> str:
    """Return a point in time in the format of metav1.MicroTime: microseconds, UTC."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def after(when: datetime, duration: str) -> datetime:
    """Return the point in time that is ``duration`` after ``when``."""
    try:
        return when + timedelta(seconds=seconds(duration))
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)
