"""The annotation `hanas.dev/paused`: hands off the objects, while status and the Service of the main stay current."""

import signal

from tests.e2e.conftest import Made
from tests.e2e.hands import Hands
from tests.e2e.waiting import eventually, holds


def test_objects_are_left_as_they_are_until_it_goes(hanas: Made, signals: Hands) -> None:
    demo = hanas(workers=2)
    main, epoch = demo.status["main"], demo.status["epoch"]
    demo.kubectl("annotate", "hanas", demo.name, "hanas.dev/paused=true")
    demo.until("it says so", lambda: demo.condition("Degraded")[:2] == ("True", "Paused"))
    demo.kubectl("delete", "service", demo.name)
    demo.spec["workers"] = 3
    demo.apply()

    def untouched() -> bool:
        replicas = (demo.kubectl.get("statefulset", f"{demo.name}-worker") or {})["spec"]["replicas"]
        return demo.kubectl.get("service", demo.name) is None and replicas == 2

    holds("nothing is made or changed", untouched, 8.0)
    signals.signal(demo.kubectl, demo.pod(main), signal.SIGKILL)
    demo.until_epoch_after(epoch)
    demo.until_main_is_not(main)
    assert untouched()

    demo.kubectl("annotate", "hanas", demo.name, "hanas.dev/paused-")
    eventually("the Service is back", lambda: demo.kubectl.get("service", demo.name) is not None)
    demo.until_ready()
