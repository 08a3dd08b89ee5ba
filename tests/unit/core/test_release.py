"""The release that runs here."""

from importlib import metadata

import pytest

from hanas_core import release


def test_the_version_is_that_of_the_distribution() -> None:
    assert release.installed() == metadata.version("hanas")


def test_sources_that_are_not_installed_have_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(release, "version", missing)
    assert release.installed() == "unknown"
