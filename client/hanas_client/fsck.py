"""`hanas fsck FOLDER`: checks a folder without running workers, and lists errors with the affected keys."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from hanas_client.encryption import opened
from hanas_client.plain import plain, plain_json
from hanas_core.upkeep import fsck
from hanas_core.upkeep.findings import Finding, FolderReport
from hanas_core.volume import blocking
from hanas_core.volume.posix import PosixFolder

_SHOWN_KEYS = 10


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("folder", metavar="FOLDER", help="the shared folder; stop all workers first")
    parser.add_argument("--quiet", "-q", action="store_true", help="errors only, no notes")


def run(arguments: argparse.Namespace) -> int:
    """Check the folder; return the exit code, 1 if it has errors."""
    report = blocking.run(fsck.check(opened(Path(arguments.folder))))
    if arguments.json:
        print(plain_json(msgspec.json.encode(report).decode()))
    else:
        show(report, quiet=arguments.quiet)
    return int(report.errors > 0)


def errors(folder: PosixFolder) -> list[str]:
    """Return a line for each error of a folder. Raises FolderError."""
    return _lines(blocking.run(fsck.check(folder)), quiet=True)


def show(report: FolderReport, *, quiet: bool) -> None:
    """Print a line for each finding, and the totals."""
    for line in _lines(report, quiet=quiet):
        print(line)
    notes = len(report.findings) - report.errors
    print(
        f"{report.errors} errors, {notes} notes: {report.keys} keys in {report.segments} segments, "
        f"{report.batches} batches, {report.log_bytes} bytes, epoch {report.epoch}"
    )


def _lines(report: FolderReport, *, quiet: bool) -> list[str]:
    return [plain(_line(each)) for each in report.findings if each.severity == "error" or not quiet]


def _line(finding: Finding) -> str:
    place = finding.name if finding.offset is None else f"{finding.name} at {finding.offset}"
    line = f"{finding.severity}: {place}: {finding.what}"
    if not finding.keys:
        return line
    more = len(finding.keys) - _SHOWN_KEYS
    names = ", ".join(finding.keys[:_SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")
    return f"{line}; keys: {names}"
