"""When the label of the main was moved, seen by a watch."""

import json
import subprocess
import threading
import time
from datetime import datetime
from types import TracebackType
from typing import Self

from tests.e2e.hanas import MAIN, HANas
from tests.e2e.kubectl import Resource
from tests.e2e.waiting import eventually


class LabelWatch:
    """Notes when each pod of a HANas gets the label. Use it as a context manager."""

    def __init__(self, hanas: HANas) -> None:
        self._hanas = hanas
        self._seen: list[tuple[float, str]] = []
        words = (
            "get",
            "pods",
            "--selector",
            f"hanas.dev/cluster={hanas.name},{MAIN}",
            "--watch",
            "--output-watch-events",
        )
        form = '{.type}{" "}{.object.metadata.name}{"\\n"}'
        self._process = subprocess.Popen(
            ["kubectl", "--namespace", hanas.kubectl.namespace, *words, "--output", f"jsonpath={form}"],
            env=hanas.kubectl.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event, _, pod = line.strip().partition(" ")
            if event == "ADDED":
                self._seen.append((time.time(), pod))

    def moved_after(self, takeover: Resource) -> float:
        """Return how long after a claim the label was at its winner, seconds. It takes the clocks of one machine."""
        claimed = datetime.fromisoformat(takeover["claimedAt"]).timestamp()
        pod = self._hanas.pod(takeover["member"])

        def moved() -> float | None:
            return next((at for at, name in self._seen if name == pod and at >= claimed), None)

        return eventually(f"the label moves to {pod}: {json.dumps(takeover)}", moved, 30.0) - claimed
