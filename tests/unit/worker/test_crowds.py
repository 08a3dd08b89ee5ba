"""A worker tells that its connections are all in use, and the link keeps only those that it is for."""

import asyncio

from hanas_core.members.verdicts import Severity, Verdict
from hanas_serving.http1 import Server
from hanas_worker.host import crowds
from hanas_worker.neighbours.keepalives import LinkEndpoint
from hanas_worker.ops import status
from tests.unit.core.scenery import bare_folder, serve
from tests.unit.serving.connections import application, connected, limited
from tests.unit.waiting import until
from tests.unit.worker.nodes import backup_of


async def test_a_worker_tells_which_port_has_too_many_connections() -> None:
    main = serve(bare_folder(), 1)
    node = backup_of(main, main.folder.other())
    node.host.admissions = {"clients": limited(connections=2), "link": limited(connections=2)}
    assert crowds.conditions(node.host) == []
    server = Server(application, admission=node.host.admissions["link"])
    guests = [connected(server) for _ in range(3)]
    [condition] = crowds.conditions(node.host)
    assert (condition.kind, condition.about, condition.severity) == (
        Verdict.CONNECTIONS_EXHAUSTED,
        "b",
        Severity.URGENT,
    )
    assert condition.message.startswith("b has too many connections (link: all 2 are in use")
    shown = [(entry.port, entry.open, entry.limit, entry.displaced) for entry in status.document(node).connections]
    assert shown == [("clients", 0, 2, 0), ("link", 3, 2, 1)]
    for connection, _ in guests:
        connection.connection_lost(None)


async def test_only_a_lifeline_stays_open() -> None:
    server = Server(LinkEndpoint(()))
    connection, wire = connected(server)
    connection.data_received(b"GET /v1/lifeline HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: wire.content.startswith(b"HTTP/1.1 204 "))
    await asyncio.sleep(0)
    assert (wire.closed, wire.half_closed) == (False, False)
    connection, wire = connected(server)
    connection.data_received(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: wire.closed)
    assert wire.content.startswith(b"HTTP/1.1 404 ")
