"""The file with the keys that encrypt the folder, which changes while a worker runs."""

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from hanas_core.volume.encryption import NO_KEYS, parse
from hanas_serving.lanes import SystemThread
from hanas_serving.settings import SettingError
from hanas_worker.host import keyfile
from hanas_worker.host.keyfile import KEY_FILE, KeyFile
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import bare_folder
from tests.unit.waiting import meanwhile, until

A, B = "a1" * 32, "b2" * 32
KEY_A, KEY_B = parse([A]).current, parse([B]).current


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyfile, "LOOK_SECONDS", 0.001)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / "keys"
    made.write_text(f"{A}\n")
    made.chmod(0o600)
    return made


def kept(file: KeyFile, folder: MemoryFolder) -> AbstractAsyncContextManager[None]:
    folder.keys = file.keys
    return meanwhile(file.keep(SystemThread, folder))


def replace(place: Path, content: str) -> None:
    new = place.with_suffix(".new")
    new.write_text(content)
    new.replace(place)


def test_without_a_name_there_are_no_keys() -> None:
    assert KeyFile({}).keys == NO_KEYS


async def test_without_a_name_nothing_is_looked_at() -> None:
    await KeyFile({}).keep(SystemThread, bare_folder())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "the file is empty"),
        (f"{A}\nhunter2\n", "line 2 is no key: 32 bytes in base64 or hexadecimal are expected"),
        (None, "the file cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(place: Path, content: str | None, words: str) -> None:
    if content is None:
        place.unlink()
    else:
        place.write_text(content)
    with pytest.raises(SettingError, match=f"{KEY_FILE}={place}: {words}") as told:
        KeyFile({KEY_FILE: str(place)})
    assert "hunter2" not in str(told.value)
    assert "\n" not in str(told.value)


async def test_a_key_that_is_added_is_written_with_and_one_that_is_removed_is_read_with_on(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder = bare_folder()
    async with kept(KeyFile({KEY_FILE: str(place)}), folder):
        assert folder.keys.current == KEY_A
        replace(place, f"{A}\n{B}\n")
        await until(lambda: folder.keys == parse([A, B]))
        replace(place, f"{B}\n{A}\n")
        await until(lambda: folder.keys == parse([B, A]))
        replace(place, f"{B}\n")
        await until(lambda: f"the file has no more the key {KEY_A}" in caplog.text)
        assert folder.keys == parse([B, A])
    assert A not in caplog.text
    assert caplog.text.count("the file has changed") == 3


async def test_what_cannot_be_used_changes_nothing_and_is_told_once(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder = bare_folder()
    async with kept(KeyFile({KEY_FILE: str(place)}), folder):
        replace(place, "no key\n")
        await until(lambda: "line 1 is no key" in caplog.text)
        assert folder.keys == parse([A])
        replace(place, f"{A}\n")
        await until(lambda: "the file can be used again" in caplog.text)
    assert caplog.text.count("line 1 is no key") == 1
    assert "the keys that it had before stay in force" in caplog.text


async def test_a_file_that_hangs_changes_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keyfile, "PATIENCE_SECONDS", 0.01)
    folder, goes_on = bare_folder(), asyncio.Event()
    loop = asyncio.get_running_loop()

    async def hang(*_: object) -> None:
        asyncio.run_coroutine_threadsafe(goes_on.wait(), loop).result()

    monkeypatch.setattr(keyfile, "_read", hang)
    async with kept(KeyFile({KEY_FILE: str(place)}), folder):
        await until(lambda: "it does not answer" in caplog.text)
        assert folder.keys == parse([A])
        goes_on.set()
