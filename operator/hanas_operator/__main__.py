"""``hanas-operator``: connects, then watches until SIGTERM or SIGINT. Exit codes: 0 stopped, 1 failed, 2 usage."""

import asyncio
import importlib.util
import sys

from hanas_operator import settings

_EXTRA = ("kopf", "kubernetes")
"""The packages that the operator needs beside the dependencies of the other components."""


def main() -> int:
    """Run the operator; return its exit code."""
    values = settings.read(sys.argv[1:])
    if missing := [name for name in _EXTRA if importlib.util.find_spec(name) is None]:
        needs = " and ".join(missing)
        sys.stderr.write(f"hanas-operator: needs {needs}; install with: pip install 'hanas[operator]'\n")
        return 1

    from hanas_operator import running  # noqa: PLC0415  # imports what may be missing
    from hanas_serving import program  # noqa: PLC0415

    async def run(stopping: asyncio.Event) -> None:
        await running.operate(values, stopping)

    return program.run("hanas-operator", run)


if __name__ == "__main__":
    sys.exit(main())
