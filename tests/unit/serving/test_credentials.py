"""Files of secrets and tokens that change while a process runs."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from hanas_core.members.verdicts import Severity, Verdict
from hanas_serving import credentials, principals, settings
from hanas_serving.credentials import Credentials
from hanas_serving.lanes import SystemThread
from hanas_serving.principals import ANONYMOUS, BEARER, STRANGER
from hanas_worker.host.credentials import conditions
from tests.unit.core.scenery import bare_folder, serve
from tests.unit.waiting import until
from tests.unit.worker.nodes import backup_of


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "LOOK_SECONDS", 0.001)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """The environment of a process with a secret and two tokens."""
    (tmp_path / "secret").write_text("s\n")
    (tmp_path / "tokens").write_text("a\nb\n")
    return {settings.SECRETS: str(tmp_path / "secret"), settings.TOKENS: str(tmp_path / "tokens")}


def of(environment: Mapping[str, str]) -> Credentials:
    return Credentials(
        environment, settings.secrets(environment, settings.SECRETS), settings.secrets(environment, settings.TOKENS)
    )


@asynccontextmanager
async def kept(held: Credentials) -> AsyncIterator[None]:
    keeping = asyncio.create_task(held.keep(SystemThread))
    try:
        yield
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping


def replace(environment: Mapping[str, str], variable: str, content: str) -> None:
    new = Path(environment[variable]).with_suffix(".new")
    new.write_text(content)
    new.replace(environment[variable])


async def test_changed_tokens_are_in_force_and_revoked_ones_are_not(files: dict[str, str]) -> None:
    held, changes = of(files), []
    held.on_change = lambda: changes.append(tuple(held.readers))
    assert principals.identify(b"Bearer b", held.client_tokens) is BEARER
    assert (held.client_tokens[0], held.client_tokens[1:], tuple(held.readers)) == ("a", ("b",), ("a", "b", "s"))
    async with kept(held):
        replace(files, settings.TOKENS, "a\nc\n")
        await until(lambda: tuple(held.client_tokens) == ("a", "c"))
        assert principals.identify(b"Bearer b", held.client_tokens) is STRANGER
        assert principals.identify(b"Bearer c", held.readers) is BEARER
        replace(files, settings.SECRETS, "new\ns\n")
        await until(lambda: principals.bearer(held.secrets) == {"Authorization": "Bearer new"})
    assert changes == [("a", "c", "s"), ("a", "c", "new", "s")]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\n", "the file is empty"), (b"\xff", "it is not UTF-8 text"), (None, "No such file or directory")],
)
async def test_what_cannot_be_used_changes_nothing_and_is_told(
    files: dict[str, str], content: bytes | None, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    main = serve(bare_folder(), 1)
    host = backup_of(main, main.folder.other()).host
    host.credentials = held = of(files)
    path = Path(files[settings.TOKENS])
    async with kept(held):
        assert conditions(host) == []
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        await until(lambda: bool(held.trouble))
        assert (tuple(held.client_tokens), tuple(held.secrets)) == (("a", "b"), ("s",))
        [condition] = conditions(host)
        assert (condition.kind, condition.severity) == (Verdict.UNKNOWN, Severity.URGENT)
        assert f"HANAS_CLIENT_TOKEN_FILE={path}" in condition.message
        assert words in condition.message
        path.write_text("c\n")
        await until(lambda: not held.trouble)
    assert tuple(held.client_tokens) == ("c",)
    errors = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert "the 2 lines that it had before stay in force" in errors[0]


async def test_a_file_that_is_being_written_is_not_taken_for_whole(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([("a",), ("a", "l"), ("a", "long"), ("a", "long")])
    last: list[tuple[str, ...]] = []

    def lines_of(environment: Mapping[str, str], variable: str) -> tuple[str, ...]:
        if variable == settings.SECRETS:
            return ("s",)
        last[:] = [next(looks, ("a", "long"))]
        return last[0]

    held, changes = of(files), []
    held.on_change = lambda: changes.append(tuple(held.client_tokens))
    monkeypatch.setattr(settings, "lines_of", lines_of)
    async with kept(held):
        await until(lambda: bool(changes))
    assert changes == [("a", "long")]


async def test_a_file_that_does_not_answer_stops_nothing(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held, answers = of(files), threading.Event()

    def lines_of(environment: Mapping[str, str], variable: str) -> tuple[str, ...]:
        answers.wait()
        return ("s",) if variable == settings.SECRETS else ("a", "b")

    monkeypatch.setattr(settings, "lines_of", lines_of)
    monkeypatch.setattr(credentials, "_PATIENCE_SECONDS", 0.001)
    async with kept(held):
        await until(lambda: "it does not answer" in held.trouble)
        monkeypatch.setattr(credentials, "_PATIENCE_SECONDS", 10.0)
        answers.set()
        await until(lambda: not held.trouble)
    assert tuple(held.client_tokens) == ("a", "b")


async def test_without_files_nothing_is_read() -> None:
    held = Credentials({}, (), ())
    async with kept(held):
        await asyncio.sleep(0.01)
    assert principals.identify(None, held.client_tokens) is ANONYMOUS
    assert (held.trouble, len(held.readers), principals.bearer(held.secrets)) == ("", 0, {})
