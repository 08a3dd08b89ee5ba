"""A program that was started without some of its standard streams."""

import os
import subprocess
import sys

import pytest

from hanas_core import streams


def test_closed_descriptors_are_opened_on_the_null_device(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def fstat(number: int) -> None:
        if number != 1:
            raise OSError

    monkeypatch.setattr(os, "fstat", fstat)
    monkeypatch.setattr(os, "open", lambda path, _: opened.append(path))
    streams.open_standard()
    assert opened == [os.devnull, os.devnull]
    monkeypatch.undo()


def test_a_program_without_standard_error_has_one_that_drops_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    streams.open_standard()
    assert sys.stderr.fileno() == 2, "no further descriptor, which may be closed before the last flush"
    program = "import sys; from hanas_core import streams; streams.open_standard(); print(sys.stderr.write('lost'))"
    started = ["sh", "-c", '"$0" -c "$1" 2>&-', sys.executable, program]
    assert subprocess.run(started, capture_output=True, check=True).stdout == b"4\n"


def test_open_streams_stay() -> None:
    before = sys.stderr
    streams.open_standard()
    assert sys.stderr is before
