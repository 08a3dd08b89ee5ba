"""What can go wrong with the communication folder, classified by what may be done next."""


class FolderError(Exception):
    """An operation on the folder whose effect is not known. The message is for people and names the file."""


class Missing(FolderError):
    """A name was not found (ENOENT), or the handle of an open file went stale (ESTALE). Never proof that it is gone."""


class NoSpace(FolderError):
    """The volume is full or a quota is reached (ENOSPC, EDQUOT)."""


class FolderUnavailable(FolderError):
    """The folder cannot be used now: an I/O error, a time-out, a read-only mount, a short read."""


class WrongFolder(FolderError):
    """The folder is not the one it should be: initialised with another id or format, or it holds something else."""


class NotInitialised(WrongFolder):
    """The folder has no identity (yet): an overseer's first start, or `hanas init`, gives it one."""


class Corruption(FolderError):
    """Bytes that were once durable are wrong or gone. The message names the file and the offset."""


class KeyMissing(FolderError):
    """A file is encrypted with a key that is not at hand."""

    def __init__(self, name: str, key_id: str) -> None:
        """``name``: of the file; ``key_id``: of the master key."""
        super().__init__(
            f"{name}: is encrypted with the key {key_id}, which is not in HANAS_ENCRYPTION_KEY_FILE: add it"
        )
        self.key_id = key_id


class Displaced(FolderError):
    """A name does not lead any more to the file that it led to, or another folder is in the place of this one.

    The message names the file. Nothing may be acknowledged on what this process holds open.
    """


class Sealed(Exception):
    """The epoch has ended: its seal is written or cannot be ruled out. Nothing may be acknowledged in it."""
