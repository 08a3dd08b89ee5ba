"""Settings of the overseer, from the environment (docs/operations.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hanas_core.members.timing import Timing
from hanas_serving import folders, settings

DEFAULT_PORT = 4000


@dataclass(frozen=True)
class OverseerSettings:
    """The configuration of an overseer."""

    port: int
    folder: Path
    make_folder: bool
    """No folder was named, so the default one is created if it is missing."""
    folder_id: str | None
    """The id that the folder must have; None: any id is accepted, and an empty folder is initialised."""
    secrets: tuple[str, ...]
    """``POST`` and ``DELETE`` calls need one of these; empty: those calls are open."""
    client_tokens: tuple[str, ...]
    """``GET`` calls need one of these or of ``secrets``; empty: those calls are open."""
    timing: Timing


def read(environment: Mapping[str, str]) -> OverseerSettings:
    """Return the settings in ``environment``. Raises SettingError."""
    return OverseerSettings(
        port=settings.port(environment, "PORT", DEFAULT_PORT),
        folder=folders.path(environment),
        make_folder=folders.is_default(environment),
        folder_id=settings.folder_id(environment),
        secrets=settings.secrets(environment, "HANAS_SECRET_FILE"),
        client_tokens=settings.secrets(environment, "HANAS_CLIENT_TOKEN_FILE"),
        timing=settings.timing(environment),
    )
