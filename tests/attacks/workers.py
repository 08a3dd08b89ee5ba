"""Workers beside a lab, on ports of their own."""

import os
from pathlib import Path

from tests.unit.worker.ports import free_port


def environment(member: str, folder: Path, overseer_url: str) -> dict[str, str]:
    """Return what a worker starts with."""
    port, link_port = free_port(), free_port()
    return {
        **os.environ,
        "PORT": str(port),
        "LINK_PORT": str(link_port),
        "WORKER_ID": member,
        "OVERSEER_IP": overseer_url,
        "COMMUNICATION_FOLDER": str(folder),
    }
