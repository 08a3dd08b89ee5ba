"""A folder that the release 0.1.0 made opens, and goes on with revisions (docs/protocol.md, section 3.13)."""

import tarfile
from pathlib import Path

import pytest

from hanas_core.log import records
from hanas_core.log.positions import Facts, Version
from hanas_core.members import cluster
from hanas_core.members.adoption import adopt
from hanas_core.state.judge import Compaction, Outcome, Result, Write
from hanas_core.upkeep import fsck
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.errors import WrongFolder
from hanas_core.volume.posix import PosixFolder
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import FOLDER_ID, Main, fresh_backup, promoted, win
from tests.unit.core.test_revisions import state_at

DATA = Path(__file__).parent / "data" / "folder-0.1.0.tar.xz"
REVISION = 24
"""23 writes were made in it."""


@pytest.fixture(name="older")
def _older() -> MemoryFolder:
    """Return the folder as it was left by its last main: two takeovers, one of them by a compaction, and a snapshot."""
    folder = MemoryFolder()
    with tarfile.open(DATA) as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            if member.isdir() and name not in {"", "."}:
                run(folder.make_directory(name))
            elif (content := archive.extractfile(member)) is not None:
                run(folder.create(name, content.read()))
    for directory in ("", *names.DIRECTORIES):
        run(folder.sync_directory(directory))
    assert run(cluster.identify(folder, FOLDER_ID)).format == 2
    return folder


def goes_on(folder: MemoryFolder, form: int) -> Main:
    return promoted(folder, win(folder, 4, "a"), form=form)


def test_every_key_has_the_revision_of_its_write(older: MemoryFolder) -> None:
    for hidden in (False, True):
        if hidden:  # from the log alone
            for name in run(older.names(names.SNAPSHOTS)):
                run(older.remove(f"{names.SNAPSHOTS}/{name}"))
        index = fresh_backup(older.other(), 3).index
        assert (index.revision, index.compacted) == (REVISION - 1, REVISION - 1), "of the last write nothing was told"
        for _, entry in index.page(b"", b"", 99).entries:
            assert entry.facts == Facts(entry.sequence + 1, entry.sequence + 1, 1, 0)
        state = state_at(older, index, index.revision)
        assert sorted(state) == [b"counter", b"gone", b"large/0", b"large/1", b"large/2", "\xe9/\xfc".encode()]
        assert state[b"counter"].value == b"4"
        assert not len(index.keys.history)


def test_history_begins_with_the_first_batch_of_the_next_format(older: MemoryFolder) -> None:
    main = goes_on(older, records.REVISED)
    index = main.replica.index
    assert (index.revision, index.compacted) == (REVISION, REVISION)
    (outcome,) = main.write(Write(b"counter", b"5"))
    assert outcome.revision == REVISION + 1
    main.write(Write(b"gone", None), Write(b"new", b"n"))
    for reader in (index, fresh_backup(older.other(), 4, main.log.committed).index):
        assert (reader.revision, reader.compacted) == (REVISION + 3, REVISION)
        assert state_at(older, reader, REVISION)[b"counter"].value == b"4"
        assert state_at(older, reader, REVISION)[b"gone"].value == b"again"
        assert b"new" not in state_at(older, reader, REVISION + 2)
        entry = reader.get(b"counter")
        assert entry is not None
        assert entry.facts == Facts(REVISION + 1, 21, 2)
    assert run(fsck.check(older.other())).errors == 0


def test_a_main_writes_what_older_members_read_until_it_is_told_otherwise(older: MemoryFolder) -> None:
    main = goes_on(older, records.PLAIN)
    assert main.write(Compaction(REVISION), Write(b"counter", b"5")) == [
        Outcome(Result.COMPACTED),
        Outcome(Result.REPLACED, Version(4, 24)),
    ]
    entry = main.replica.index.get(b"counter")
    assert entry is not None
    assert entry.facts == Facts(25, 25)
    main.commits.form = records.REVISED
    (outcome,) = main.write(Write(b"counter", b"6"))
    assert outcome.revision == 26
    cold = fresh_backup(older.other(), 4, main.log.committed).index
    assert (cold.revision, cold.compacted) == (26, 25)
    assert state_at(older, cold, 25)[b"counter"].value == b"5"


def test_the_folder_is_upgraded_once_and_adoption_keeps_its_format(older: MemoryFolder) -> None:
    assert run(adopt(older)).format == 2
    folder_id = run(cluster.identify(older)).folder_id
    assert run(cluster.upgrade(older, folder_id)).format == 3
    assert run(cluster.upgrade(older, folder_id)).format == 3
    identity = run(cluster.identify(older.other(), folder_id))
    assert (identity.format, identity.former_ids) == (3, (FOLDER_ID,))


def test_a_format_that_is_not_known_is_refused(tmp_path: Path) -> None:
    folder = PosixFolder(tmp_path)
    run(folder.create(names.CLUSTER, cluster.encode(cluster.Cluster(FOLDER_ID, 4))))
    with pytest.raises(WrongFolder, match="has format 4, this program knows 2 and 3: install the release that the"):
        run(cluster.identify(folder))
