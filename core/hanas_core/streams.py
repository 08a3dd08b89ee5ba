"""The standard streams of a program that was started without some of them."""

import os
import sys


def open_standard() -> None:
    """Open the standard descriptors that are closed on the null device, so that no file or socket gets their numbers.

    Python has no stream for them; `sys.stderr` becomes one that drops its text.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115  # until the end of the program
