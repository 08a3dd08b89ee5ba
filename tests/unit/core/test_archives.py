"""The format of archives: what was written is read, and whatever is not whole says so."""

import pytest

from hanas_core.upkeep.archive import ArchiveWriter, BadArchive, Head, Item, Tail, read_items

ITEMS = [Item("a", b"1", "text/plain", "1-2"), Item("b", b"\0\xff")]


def written(*items: Item) -> list[bytes]:
    lines: list[bytes] = []
    writer = ArchiveWriter(lines.append, Head(1, "", revision=7, epoch=2, folder_id="ab"))
    for item in items:
        writer.add(item)
    assert writer.finish() == Tail(len(items), sum(len(item.value) for item in items), writer.finish().checksum)
    return lines[:-1]


def test_what_was_written_is_read() -> None:
    lines = written(*ITEMS)
    assert lines[0] == b'{"hanas":1,"prefix":"","revision":7,"epoch":2,"folderId":"ab"}\n'
    assert list(read_items(lines)) == ITEMS
    assert list(read_items(written())) == []


def test_a_changed_byte_is_seen() -> None:
    lines = written(*ITEMS)
    lines[1] = lines[1].replace(b"MQ==", b"Mg==")
    with pytest.raises(BadArchive, match="the archive is damaged"):
        list(read_items(lines))


def test_an_archive_of_an_earlier_version_has_no_checksum() -> None:
    lines = [b'{"hanas":1,"prefix":""}\n', b'{"key":"a","value":"MQ=="}\n', b'{"keys":1,"bytes":1}\n']
    assert list(read_items(lines)) == [Item("a", b"1")]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "incomplete: 0 keys"),
        ([b'{"keys":0,"bytes":0}\n'], "line 1 is not a line of an archive"),
        ([b'{"hanas":2}\n'], "format 2"),
        ([b'{"hanas":1}\n', b"[]\n"], "line 2 is not a line of an archive"),
        (written(*ITEMS)[:-1], "2 keys with 3 bytes were read, and its last line says nothing"),
        ([*written(ITEMS[0])[:-1], written(*ITEMS)[-1]], "its last line says 2 keys with 3 bytes"),
        ([*written(), b"{}\n"], "line 3: something follows"),
    ],
)
def test_what_is_no_whole_archive_says_so(lines: list[bytes], words: str) -> None:
    with pytest.raises(BadArchive, match=words):
        list(read_items(lines))
