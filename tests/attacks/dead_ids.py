"""A folder in which hundreds of workers once lived."""

import secrets
from pathlib import Path

import msgspec

from hanas_core.members import cluster
from hanas_core.members.documents import LogPresence, Presence
from hanas_core.members.mailboxes import Box
from hanas_core.members.registry import Registration
from hanas_core.members.roles import Role
from hanas_core.volume import blocking, names
from hanas_core.volume.blocks import pack
from hanas_core.volume.folder import BLOCK_BYTES
from hanas_core.volume.posix import PosixFolder


def populate(folder: Path, count: int, *, left: bool = False) -> None:
    """Initialise ``folder`` with ``count`` members whose processes are gone, each with addresses of its own."""
    folder.mkdir(parents=True)
    blocking.run(cluster.initialise(PosixFolder(folder)))
    with (folder / names.MAILBOXES / Box.PRESENCE).open("r+b") as presence:
        for slot in range(count):
            member, host = f"dead-{slot}", f"127.1.{slot // 200}.{1 + slot % 200}"
            urls = f"http://{host}:3001", f"http://{host}:4001"
            registration = Registration(member, slot, *urls)
            (folder / names.member(slot)).write_bytes(pack(msgspec.json.encode(registration)))
            block = Presence(
                member=member,
                incarnation=secrets.token_hex(16),
                counter=7,
                advertise_url=urls[0],
                link_url=urls[1],
                logs=(LogPresence(role=Role.BACKUP, epoch=0),),
                left=left,
            )
            presence.seek(slot * BLOCK_BYTES)
            presence.write(pack(msgspec.json.encode(block)))
