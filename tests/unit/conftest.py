"""Settings of all unit tests."""

import os

from hypothesis import settings

# A busy machine makes an example slow, and not wrong.
settings.register_profile("hanas", deadline=None)
settings.load_profile("hanas")


def pytest_xdist_auto_num_workers() -> int:
    """Two for each core: unit tests wait, for threads, timers and short-lived processes, more than they compute."""
    return 2 * (os.cpu_count() or 1)
