"""Simulated runs are long on a busy machine."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/sim" in item.path.as_posix():
            item.add_marker(pytest.mark.timeout(300))
