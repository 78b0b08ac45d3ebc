"""Whatever lies at a path that a user names, reading it ends in its content or in a sentence."""

import json
import os
import socket

import pytest

from geomem import files
from geomem.errors import InputError
from geomem.files import Descriptor, Unreadable, opened, path_of, printable, read_json, tree
from geomem.limits import DEEPEST_JSON, LARGEST_JSON
from geomem.memory import check_memory


@pytest.fixture
def held(tmp_path):
    """A file, and what looks like one by its name."""
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "link").symlink_to("file")
    return tmp_path


WORDS = {
    "folder": "is a folder, not a file with content",
    "pipe": "is a named pipe, not a file with content",
    "socket": "cannot be read|is a socket",
    "circle": "cannot be read .too many levels of symbolic links",
    "nowhere": "cannot be read .no such file",
    "gone": "cannot be read .no such file",
    "a" * 300: "cannot be read .file name too long",
}


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("read", [read_json, Descriptor, lambda path: opened(path).__enter__()])
def test_only_regular_files_are_opened(held, name, read):
    with pytest.raises(Unreadable, match=WORDS[name]) as found:
        read(held / name)
    assert str(held / name) in str(found.value)


def test_devices_are_refused():
    with pytest.raises(Unreadable, match="/dev/zero: is a device"):
        read_json(path_of("/dev/zero"))


@pytest.mark.parametrize("name", ["file", "link"])
def test_regular_files_are_read(held, name):
    with opened(held / name) as stream:
        assert stream.read() == b"content"
    assert files.is_file(held / name)
    assert not files.is_folder(held / name)


def test_what_is_at_a_path(held):
    assert files.is_folder(held / "folder")
    assert not files.exists(held / "gone")
    assert not files.exists(held / "file" / "below")
    for name, words in {"circle": "too many levels", "nowhere": "is a link to something that does not exist"}.items():
        with pytest.raises(Unreadable, match=words):
            files.exists(held / name)


def test_paths_that_cannot_be(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert path_of("~/a") == tmp_path / "a"
    assert str(path_of("~no-such-user/a")) == "~no-such-user/a"
    with pytest.raises(InputError, match="zero byte"):
        path_of("a\0b")
    assert printable(os.fsdecode(b"a\xff")) == "a\\xff"


def test_folders_are_listed_without_going_in_circles(held, tmp_path):
    (held / "folder" / "deep").mkdir()
    (held / "folder" / "deep" / "up").symlink_to(held)
    (held / "folder" / "deep" / ".hidden").write_text("")
    (held / "folder" / "deep" / "b").write_text("")
    found = tree(held)
    assert [str(path.relative_to(held)) for path in found.files] == ["file", "folder/deep/b", "link"]
    assert [path.name for path in found.broken] == ["circle", "nowhere", "pipe", "socket"]
    assert [path.name for path in found.linked] == ["up"]
    assert found.locked == []


def test_folders_that_cannot_be_listed_are_counted(held, monkeypatch):
    original = os.scandir

    def scandir(path):
        if str(path).endswith("folder"):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert [str(error) for error in tree(held).locked] == [f"{held / 'folder'}: cannot be read (permission denied)."]
    with pytest.raises(Unreadable, match=r"folder: cannot be read .permission denied"):
        tree(held / "folder")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[1]", "holds no JSON object"),
        (b"\xff", "cannot be read as JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}", "cannot be read as JSON"),
        (b'{"a": ' * 40 + b"1" + b"}" * 40, f"nests lists and objects more than {DEEPEST_JSON} deep"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", f"nests lists and objects more than {DEEPEST_JSON} deep"),
        (b'{"a": "' + b" " * LARGEST_JSON + b'"}', "is larger than 4 MiB"),
    ],
)
def test_configurations_are_bounded(tmp_path, content, words):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.json: {words}"):
        read_json(tmp_path / "a.json")


def test_nesting_within_bounds_is_read(tmp_path):
    inner: object = 1
    for _ in range(DEEPEST_JSON - 1):
        inner = [inner]
    (tmp_path / "a.json").write_text(json.dumps({"a": inner, "b": {}}))
    assert read_json(tmp_path / "a.json")["a"] == inner


def test_memory_that_is_not_there_is_refused():
    check_memory(1, "x", "wait")
    with pytest.raises(InputError, match=r"^x: needs 1,048,576.0 GiB of memory, but .* GiB are free; wait\.$"):
        check_memory(2**50, "x", "wait")
    with pytest.raises(InputError, match="needs more memory than any computer has"):
        check_memory(10**5000, "x", "wait")


def test_file_cut_short_while_it_is_read_is_a_sentence(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(range(100)))
    stored = Descriptor(path)
    target = bytearray(10)
    stored.read_into(memoryview(target), 20)
    assert target == bytes(range(20, 30))
    os.truncate(path, 25)
    with pytest.raises(Unreadable, match="a: was cut short while it was read"):
        stored.read_into(memoryview(target), 20)
