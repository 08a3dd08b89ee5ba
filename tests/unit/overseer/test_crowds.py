"""Clients that take all connections of an overseer, or keep them for event streams."""

from pathlib import Path

from hanas_serving.http1 import Server
from tests.unit.overseer.stage import Stage, check_problem, running
from tests.unit.serving.connections import application, connected, limited


async def test_too_many_connections_raise_an_alert(tmp_path: Path) -> None:
    async with running(Stage(tmp_path)) as overseer:
        assert (await overseer.get("/v1/alerts"))["alerts"] == []
        server = Server(application, admission=overseer.admission)
        guests = [connected(server) for _ in range(overseer.admission.limits.connections + 1)]
        [alert] = (await overseer.get("/v1/alerts"))["alerts"]
        assert (alert["kind"], alert["severity"], alert["about"]) == ("ConnectionsExhausted", "urgent", "overseer")
        assert "HANAS_CONNECTIONS" in alert["advice"]
        metrics = (await overseer.http.get("/metrics")).text
        assert 'hanas_connections_displaced_total{port="clients"} 1.0' in metrics
        for connection, _ in guests:
            connection.connection_lost(None)


async def test_event_streams_leave_connections_for_other_calls(tmp_path: Path) -> None:
    async with running(Stage(tmp_path)) as overseer:
        overseer.admission.limits = limited(connections=2).limits
        overseer.metrics._open_streams = 1
        problem = check_problem(await overseer.http.get("/v1/events"), 503)
        assert problem["detail"].startswith("there are too many event streams")
