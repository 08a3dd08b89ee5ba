"""The release of HANas that runs here."""

from importlib.metadata import PackageNotFoundError, version


def installed() -> str:
    """Return the version of the installed distribution; `unknown` for sources that are not installed."""
    try:
        return version("hanas")
    except PackageNotFoundError:
        return "unknown"
