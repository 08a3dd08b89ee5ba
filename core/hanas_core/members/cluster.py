"""The folder's identity: initialised once, explicitly, and checked by everyone (docs/protocol.md, section 1)."""

import contextlib

import msgspec

from hanas_core.members import mailboxes
from hanas_core.volume import names
from hanas_core.volume.blocks import UNREADABLE
from hanas_core.volume.errors import Missing, NotInitialised, WrongFolder
from hanas_core.volume.folder import BLOCK_BYTES, Folder
from hanas_core.volume.publish import publish

FORMAT = 3
"""Version of the folder's format that new folders get."""
FORMATS = (2, FORMAT)
"""Those that this program reads and writes; another one is refused."""

_MOST_BYTES = 512
"""It is written in place, once it is there, and a write within one sector is whole or not done."""
_IGNORED = frozenset({"lost+found"})


class Cluster(msgspec.Struct, frozen=True, rename="camel"):
    """Content of ``cluster.json``, padded with spaces to one block."""

    folder_id: str
    format: int = FORMAT
    former_ids: tuple[str, ...] = ()
    """Those it had before it was adopted: what was written then carries them."""

    @property
    def ids(self) -> frozenset[str]:
        """Every id that a file of this folder may carry."""
        return frozenset({self.folder_id, *self.former_ids})


async def initialise(folder: Folder, folder_id: str | None = None) -> Cluster:
    """Make an empty folder a HANas folder and return its identity; one that is initialised already is returned.

    Safe to run twice at once and to repeat after a crash: every step is idempotent and ``cluster.json``, whose
    exclusive creation decides, comes last. Raises WrongFolder for a folder that holds anything else.
    """
    claims: list[str] = []
    with contextlib.suppress(Missing):
        claims = await folder.names(names.CLAIMS)  # looked for before `cluster.json`, which is made before any claim
    present = {name for name in await folder.names("") if name not in _IGNORED and not name.startswith(".")}
    if names.CLUSTER in present:
        return await identify(folder, folder_id)
    strange = sorted(present - set(names.DIRECTORIES))
    if strange:
        raise WrongFolder(
            f"the folder is not empty ({', '.join(strange[:3])}) and has no {names.CLUSTER}: "
            "mount the right volume, or give an empty folder"
        )
    if claims:
        message = f"the folder holds claims but no {names.CLUSTER}: it is damaged; restore the file from a backup"
        raise WrongFolder(message)
    for directory in names.DIRECTORIES:
        await folder.make_directory(directory)
    await folder.sync_directory("")
    await mailboxes.allocate(folder)
    temporary = names.temporary("init", folder.nonce(), folder.nonce())
    content = encode(Cluster(folder_id or folder.nonce()))
    return _check(folder, await publish(folder, temporary, names.CLUSTER, content), folder_id)


async def upgrade(folder: Folder, folder_id: str) -> Cluster:
    """Give the folder the newest format, durably, when all that use it know that; return its identity.

    May be repeated. Raises FolderError.
    """
    cluster = await identify(folder, folder_id)
    if cluster.format == FORMAT:
        return cluster
    content = encode(msgspec.structs.replace(cluster, format=FORMAT))
    await (await folder.open(names.CLUSTER, "blocks")).write_block(0, content)
    return await identify(folder, folder_id)


def encode(cluster: Cluster) -> bytes:
    """Return the content of ``cluster.json``. Raises WrongFolder if it had too many ids before."""
    content = msgspec.json.encode(cluster)
    if len(content) > _MOST_BYTES:
        raise WrongFolder(
            f"the folder has had {len(cluster.former_ids)} ids, which is too many: "
            "export its keys and import them into a new one"
        )
    return content.ljust(BLOCK_BYTES - 1) + b"\n"


async def identify(folder: Folder, expected: str | None = None) -> Cluster:
    """Return the folder's identity, and let its files be compared with it.

    Raises WrongFolder if there is none or it is not the ``expected`` one.
    """
    try:
        file = await folder.open(names.CLUSTER, "read")
    except Missing:
        raise NotInitialised(
            f"the folder has no {names.CLUSTER}: it is not initialised, or its volume is not mounted; "
            "start an overseer on it once, or run `hanas init FOLDER`"
        ) from None
    return _check(folder, await file.read(0, BLOCK_BYTES), expected)


def _check(folder: Folder, content: bytes, expected: str | None) -> Cluster:
    try:
        cluster = msgspec.json.decode(content, type=Cluster)
    except UNREADABLE as error:
        raise WrongFolder(f"{names.CLUSTER} cannot be read ({error}): is this a HANas folder?") from None
    if cluster.format not in FORMATS:
        raise WrongFolder(
            f"the folder has format {cluster.format}, this program knows {' and '.join(map(str, FORMATS))}: "
            "install the release that the other members run, or a later one"
        )
    if expected is not None and cluster.folder_id != expected:
        raise WrongFolder(
            f"the folder's id is {cluster.folder_id}, expected is {expected}: another volume is mounted here, "
            "or HANAS_FOLDER_ID is that of another cluster"
        )
    folder.ids, folder.format = cluster.ids, cluster.format
    return cluster
