"""A volume is tried through two views of it; what failed is named."""

import pytest

from hanas_core.volume import fitness, names
from hanas_core.volume.blocking import run
from hanas_core.volume.blocks import pack
from hanas_core.volume.errors import FolderUnavailable, NoSpace
from hanas_core.volume.fitness import Check, Examination, Unfit
from hanas_core.volume.folder import Access
from tests.unit.core.memory_folder import MemoryFile, MemoryFolder
from tests.unit.core.scenery import bare_folder

ME = "1" * 32


def examined(mine: MemoryFolder, theirs: MemoryFolder | None = None) -> list[Check]:
    return run(Examination(mine, theirs or mine.other(), fitness.temporary("a", ME), lambda: 0.0).run())


def failure(checks: list[Check]) -> str:
    with pytest.raises(Unfit) as failed:
        fitness.require(checks)
    return str(failed.value)


def test_a_fit_volume_keeps_everything_and_nothing_is_left_behind() -> None:
    folder = bare_folder()
    checks = examined(folder)
    assert len(checks) == 6
    fitness.require(checks)
    assert run(folder.names(names.TEMPORARY)) == []


def test_a_volume_without_hard_links() -> None:
    folder = bare_folder()
    folder.at("link", before=FolderUnavailable("tmp/x: Operation not permitted"))
    checks = examined(folder)
    assert failure(checks) == "exclusive link(): tmp/x: Operation not permitted"
    assert len(checks) == 1, "what comes after it rests on it"
    assert run(folder.names(names.TEMPORARY)) == []


class Obliging(MemoryFolder):
    """A volume whose link() replaces what is there."""

    async def link(self, source: str, target: str) -> bool:
        await self.remove(target)
        return await super().link(source, target)


class Repeating(MemoryFolder):
    """A volume whose client repeats a link() whose reply was lost, and so says that the name is taken."""

    async def link(self, source: str, target: str) -> bool:
        await super().link(source, target)
        return False


def test_a_link_that_replaces_what_is_there() -> None:
    folder = bare_folder()
    assert "the first is not under it" in failure(examined(Obliging(folder.disk), folder))


def test_what_a_link_did_counts_and_not_what_it_says() -> None:
    folder = bare_folder()
    fitness.require(examined(Repeating(folder.disk), folder))


def test_a_name_that_was_there_before() -> None:
    folder = bare_folder()
    given = iter(["tmp/first", "tmp/second", "tmp/target"])
    run(folder.create("tmp/target", b"strange"))
    checks = run(Examination(folder, folder.other(), lambda nonce: next(given), lambda: 0.0).run())
    assert "a name that nobody made is there" in failure(checks)


def test_a_name_that_shows_something_older_elsewhere() -> None:
    folder, theirs = bare_folder(), bare_folder()
    folder.at("link", after=lambda: run(theirs.create("tmp/target", pack(b"older"))))
    given = iter(["tmp/first", "tmp/second", "tmp/target"])
    checks = run(Examination(folder, theirs, lambda nonce: next(given), lambda: 0.0).run())
    assert failure(checks) == "a new name is seen: a read that began after the write shows older content"


def test_a_new_name_that_stays_missing() -> None:
    folder, theirs = bare_folder(), bare_folder()
    assert failure(examined(folder, theirs)).startswith("a new name is seen: tmp/a~")


def test_a_block_that_is_seen_too_late() -> None:
    folder = bare_folder()
    theirs = folder.other()
    run(theirs.make_directory("tmp"))
    reads = 0

    class Forgetful(MemoryFolder):
        """A view whose open files go on showing what they once showed."""

        async def open(self, name: str, access: str) -> object:  # type: ignore[override]
            file = await super().open(name, access)  # type: ignore[arg-type]
            known = await file.read(0, 4096) if access == "read" else b""

            class Held:
                async def read(self, offset: int, length: int) -> bytes:
                    nonlocal reads
                    reads += 1
                    return known

            return Held() if access == "read" else file

    words = failure(examined(folder, Forgetful(folder.disk)))
    assert words.startswith("a block written in place is seen at once through an open file: a read that began after")
    assert reads > 0


def test_a_full_volume_tells_nothing() -> None:
    folder = bare_folder()
    folder.at("create", before=NoSpace("no space left on device"))
    with pytest.raises(NoSpace):
        examined(folder)


def test_what_cannot_be_removed_is_left_for_the_next_start() -> None:
    folder = bare_folder()
    folder.at("remove", before=FolderUnavailable("input/output error"))
    fitness.require(examined(folder))
    assert len(run(folder.names(names.TEMPORARY))) >= 1


def test_a_word_is_found_by_others() -> None:
    folder = bare_folder()
    name, word = run(fitness.leave_word(folder, "a", ME))
    assert run(fitness.find_word(folder.other(), name)) == word


def test_a_word_is_not_forgotten_by_a_file_server_that_crashes() -> None:
    folder = bare_folder()
    name, word = run(fitness.leave_word(folder, "a", ME))
    folder.disk.crash()
    assert run(fitness.find_word(folder.other(), name)) == word


def test_a_word_that_was_synced_and_is_not_there() -> None:
    folder = bare_folder()
    name, _ = run(fitness.leave_word(folder, "a", ME))
    folder.disk.spoil(name, 0, bytes(4096))
    with pytest.raises(FolderUnavailable, match="what was synced there reads as zero"):
        run(fitness.find_word(folder.other(), name))


@pytest.mark.parametrize("name", ["cluster.json", "claims/0000000001", "tmp/x", "tmp/../cluster.json"])
def test_only_temporary_files_are_looked_for(name: str) -> None:
    with pytest.raises(FolderUnavailable, match="is no temporary file"):
        run(fitness.find_word(bare_folder(), name))


def test_a_folder_that_is_not_initialised_is_tried_under_hidden_names() -> None:
    assert fitness.hidden("sub/")("f" * 32) == "sub/.check-" + "f" * 32


class Renumbering(MemoryFolder):
    """A volume that gives a file another number each time that it is looked up."""

    async def open(self, name: str, access: Access) -> MemoryFile:
        file = await super().open(name, access)
        file.identity = len(self.operations)
        return file


def test_a_name_that_leads_to_another_file_each_time() -> None:
    folder = bare_folder()
    assert "looks like two files" in failure(examined(Renumbering(folder.disk), folder))
