"""Captions beside images, as people have them."""

import json

import numpy as np
import pytest
from PIL import Image

from geomem.data import load
from geomem.data.captions import captioned
from geomem.errors import InputError

NAMES = ("a.png", "b.png", "cats/c.png")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "cats").mkdir()
    for i, name in enumerate(NAMES):
        Image.fromarray(np.full((4, 4), 40 * i, dtype=np.uint8)).save(tmp_path / name)
    return tmp_path


def lines(*rows):
    return "\n".join(json.dumps(row) for row in rows) + "\n"


TEXTS = ["a red house", "a blue house", "a cat"]
ROWS = [{"file_name": name, "text": text} for name, text in zip(NAMES, TEXTS, strict=True)]


@pytest.mark.parametrize(
    ("table", "content", "column"),
    [
        ("metadata.jsonl", lines(*reversed(ROWS)), None),
        (
            "metadata.jsonl",
            lines(*[{"file_name": r["file_name"], "said": r["text"], "text": "no"} for r in ROWS]),
            "said",
        ),
        ("captions.csv", "\ufefffile_name,text\n" + "".join(f"{r['file_name']},{r['text']}\n" for r in ROWS), None),
        ("metadata.csv", "image,caption\r\n" + "".join(f'{r["file_name"]},"{r["text"]}"\r\n' for r in ROWS), None),
    ],
)
def test_captions_follow_their_images(folder, table, content, column):
    (folder / table).write_text(content)
    data = captioned(load(folder), folder, column)
    assert list(data.captions) == TEXTS
    assert data.fingerprint() != load(folder).fingerprint()


def test_classes_from_subfolders(tmp_path):
    for name in ("dog/a.png", "cat/b.png", "cat/deep/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / name)
    assert list(captioned(load(tmp_path), tmp_path, "folders").captions) == ["cat", "cat", "dog"]


def test_no_table_is_no_caption_unless_it_is_asked_for(folder):
    assert captioned(load(folder), folder).captions == ()
    with pytest.raises(InputError, match=r"has no captions; put metadata\.jsonl beside"):
        captioned(load(folder), folder, "text")
    with pytest.raises(InputError, match="--captions folders"):
        captioned(load(folder), folder, "folders")


def test_arrays_have_none(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 3)))
    assert captioned(load(tmp_path / "a.npy"), tmp_path / "a.npy").captions == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lines(*ROWS[:2]), r"has no caption for 1 of 3 images \(cats/c\.png"),
        (lines({"file_name": "a.png", "words": "x"}), r"row 1 needs file_name and text \(it has file_name, words\)"),
        ("[1, 2]\n", "line 1 is not a JSON object"),
        ("{", "line 1 is not a JSON object"),
        ("[" * 100_000, "line 1 is not a JSON object"),
        (lines({"file_name": 3, "text": "x"}), "row 1 needs"),
        (b"\xff\xfe\x00", "is not text in UTF-8"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(folder, content, message):
    (folder / "metadata.jsonl").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        captioned(load(folder), folder)
