"""A worker tells that its connections are all in use, and the link keeps only those that it is for."""

from hanas_core.members.verdicts import Severity, Verdict
from hanas_serving.budget import Budget
from hanas_serving.callers import Callers
from hanas_serving.gate import Gate
from hanas_serving.http1 import Server
from hanas_worker.host import crowds
from hanas_worker.neighbours.keepalives import LinkEndpoint
from hanas_worker.ops import status
from hanas_worker.ops.memory import MemoryState
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
    document = status.document(node, MemoryState.of(Budget()))
    shown = [(entry.port, entry.open, entry.limit, entry.displaced) for entry in document.connections]
    assert shown == [("clients", 0, 2, 0), ("link", 3, 2, 1)]
    for connection, _ in guests:
        connection.connection_lost(None)


async def test_a_stranger_does_not_stay_at_the_link_port() -> None:
    server = Server(LinkEndpoint(Callers(), Gate()))
    for path, code in ((b"/v1/lifeline", b"401"), (b"/v1/status", b"404")):
        connection, wire = connected(server)
        connection.data_received(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        await until(lambda wire=wire: wire.closed)  # type: ignore[misc]
        assert wire.content.startswith(b"HTTP/1.1 %b " % code)
