"""Where the cluster is, as arguments and environment say it."""

from pathlib import Path

import pytest

from hanas_client.settings import addresses, client_token, parse_urls


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("", ()),
        ("http://a:1/", ("http://a:1",)),
        ("a:1, https://b , a:1,", ("http://a:1", "https://b")),
        ("http://[::1]:4000/base/", ("http://[::1]:4000/base",)),
    ],
)
def test_urls(text: str, urls: tuple[str, ...]) -> None:
    assert parse_urls(text) == urls


@pytest.mark.parametrize(
    "text", ["ftp://a", "http://", "http://a:x", "http://a:0", "http://a:70000", "http://[::1", "http://a?b", "a#b"]
)
def test_what_is_no_url(text: str) -> None:
    with pytest.raises(ValueError, match="is not the address of a server"):
        parse_urls(text)


def test_arguments_win_over_the_environment() -> None:
    environment = {"OVERSEER_IP": "http://o", "HANAS_SERVER": "http://w"}
    assert addresses(None, None, environment) == (("http://o",), ("http://w",))
    assert addresses("http://x", ["http://y", "http://z"], environment) == (("http://x",), ("http://y", "http://z"))
    assert addresses(None, None, {}) == (("http://localhost:4000",), ())
    assert addresses(None, "http://w", {}) == ((), ("http://w",))


def test_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("  one \ntwo\n")
    assert client_token(None, {}) is None
    assert client_token(None, {"HANAS_CLIENT_TOKEN_FILE": str(file)}) == "one"
    file.write_text("\n")
    with pytest.raises(ValueError, match="is empty"):
        client_token(file)
    with pytest.raises(ValueError, match="cannot be read"):
        client_token(tmp_path)
