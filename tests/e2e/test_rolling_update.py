"""Another image, under load: backups first, so that there is one hand-over, and nothing lost."""

import pytest

from tests.e2e.clients import clients, longest_silence
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import Made


@pytest.mark.timeout(900)
def test_every_pod_is_replaced_and_no_takeover_was_forced(cluster: Cluster, hanas: Made) -> None:
    demo = hanas()
    epoch = demo.status["epoch"]
    image = f"{cluster.image('hanas')}-next"
    with clients(cluster, demo) as running:
        demo.apply(image=image)

        def renewed() -> bool:
            pods = demo.kubectl.list("pods", f"hanas.dev/cluster={demo.name}")
            return len(pods) == 5 and all(pod["spec"]["containers"][0]["image"] == image for pod in pods)

        demo.until("every pod runs the other image", renewed, 300.0)
        demo.until_ready()
        running.until_acknowledged()
        history = [each for each in demo.takeovers() if each["epoch"] > epoch]
        print(f"{len(history)} hand-overs; longest time without an answer {longest_silence(running.history()):.2f} s")
        assert [each["why"] for each in history] == ["hand-over"]
