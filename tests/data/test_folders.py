"""Folders of images are read pixel for pixel, prepared only as asked, and never flipped."""

import gc
import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geomem.data import Preparation, load
from geomem.data.images import FORMATS
from geomem.errors import InputError
from geomem.limits import LARGEST_IMAGE, LARGEST_SIDE, LONGEST_HEADER
from inputs import lock, pictures, refused

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (5, 6, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (5, 6), dtype=np.uint8)


def test_folder_is_read_below_in_the_order_of_paths_under_its_files_names(tmp_path):
    images = {f"{i:02}": RNG.integers(0, 256, (4, 7), dtype=np.uint8) for i in range(30)}
    pictures(tmp_path / "b", **images)
    pictures(tmp_path / "a" / "deep", z=GREY[:4, :4].repeat(2, 1)[:, :7])
    Image.fromarray(GREY[:4, :4].repeat(2, 1)[:, :7]).save(tmp_path / "c.BMP")
    (tmp_path / "notes.txt").write_text("no image")
    data = load(tmp_path)
    assert list(data.files) == ["a/deep/z.png", *(f"b/{i:02}.png" for i in range(30)), "c.BMP"]
    assert data.label(1) == "b/00.png"
    np.testing.assert_array_equal(data.values[1:31], list(images.values()))
    assert (data.kind, data.name) == ("images", str(tmp_path))


def test_images_are_known_by_their_names(tmp_path):
    names = ["a.png", "b.JPG", "c.jpeg", "d.bmp", "e.gif", "f.webp", "g.tif", "h.tiff", "i.ppm", "j.pgm", "k.pbm"]
    for name in [*names, "l.txt", "png"]:
        Image.fromarray(GREY).save(tmp_path / name, "PNG")
    (tmp_path / "m.png").mkdir()
    assert list(load(tmp_path).files) == names


@pytest.mark.parametrize("image", [GREY, COLOUR], ids=["grey", "colour"])
def test_pixels_are_kept_grey_or_colour_without_flips(tmp_path, image):
    np.testing.assert_array_equal(load(pictures(tmp_path, a=image, b=image[::-1])).values, [image, image[::-1]])


def test_palette_becomes_colour_and_one_bit_grey(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([1, 0])
    bits = Image.new("1", (2, 1))
    bits.putdata([1, 0])
    np.testing.assert_array_equal(load(pictures(tmp_path / "p", a=image)).values[0, 0], [[200, 100, 50], [10, 20, 30]])
    np.testing.assert_array_equal(load(pictures(tmp_path / "1", a=bits)).values, [[[255, 0]]])


def test_transparent_pixels_are_composited_on_white(tmp_path):
    image = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], np.uint8)
    np.testing.assert_array_equal(
        load(pictures(tmp_path / "rgba", a=image)).values[0, 0], [[10, 20, 30], [255] * 3, [204] * 3]
    )
    grey = Image.fromarray(np.array([[[10, 255], [10, 0], [0, 51]]], np.uint8), "LA")
    np.testing.assert_array_equal(load(pictures(tmp_path / "la", a=grey)).values, [[[10, 255, 204]]])
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putdata([1, 0])
    pictures(tmp_path / "p")
    palette.save(tmp_path / "p" / "a.png", transparency=1)
    np.testing.assert_array_equal(load(tmp_path / "p").values[0, 0], [[255] * 3, [10, 20, 30]])


def test_transparent_pixels_get_the_background_that_is_chosen_and_are_counted(tmp_path):
    image = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [100, 100, 100, 51]]], np.uint8)
    folder = pictures(tmp_path / "rgba", a=image, b=np.full((1, 3, 4), 255, np.uint8))
    black = load(folder, background="black")
    np.testing.assert_array_equal(black.values[0, 0], [[10, 20, 30], [0] * 3, [20] * 3])
    assert black.notes == ("1 image has transparent pixels; they were composited on black (see --background).",)
    ignored = load(folder, background="ignore")
    np.testing.assert_array_equal(ignored.values[0, 0], image[0, :, :3])
    assert "their alpha channel was ignored" in ignored.notes[0]
    assert load(pictures(tmp_path / "opaque", b=np.full((1, 3, 4), 255, np.uint8))).notes == ()
    with pytest.raises(InputError, match="--background: must be one of white, black, ignore, got 'red'"):
        Preparation(background="red")


DEEP = np.array([[0, 257, 65535], [32768, 1000, 33024]], np.uint16)
SCALED = [[0, 1, 255], [128, 4, 128]]


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bits_are_scaled(tmp_path, name):
    Image.fromarray(DEEP).save(tmp_path / name)
    np.testing.assert_array_equal(load(tmp_path).values, [SCALED])


def test_sixteen_bits_with_the_most_significant_byte_first_are_scaled(tmp_path):
    pixels = DEEP.astype(">u2").tobytes()
    short, long = 3, 4
    tags = [(256, long, 3), (257, long, 2), (258, short, 16 << 16), (259, short, 1 << 16), (262, short, 1 << 16)]
    tags += [(273, long, 8), (277, short, 1 << 16), (278, long, 2), (279, long, len(pixels))]
    entries = b"".join(struct.pack(">HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = b"MM\0*" + struct.pack(">I", 8 + len(pixels))
    (tmp_path / "a.tif").write_bytes(head + pixels + struct.pack(">H", len(tags)) + entries + bytes(4))
    np.testing.assert_array_equal(load(tmp_path).values, [SCALED])


def test_floating_point_images_are_not_cut_off(tmp_path):
    Image.fromarray(np.array([[0.0, 0.25], [0.5, 1.0]], np.float32)).save(tmp_path / "a.tif")
    try:
        values = load(tmp_path).values
    except InputError:
        return
    assert len(np.unique(values)) == 4


def test_cameras_orientation_is_obeyed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(COLOUR).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(load(tmp_path).values, [np.rot90(COLOUR, -1)])


def test_damaged_metadata_are_passed_over_or_refused(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.png", exif=b"Exif\0\0this is no metadata")
    try:
        values = load(tmp_path).values
    except InputError as error:
        assert "a.png" in str(error)  # noqa: PT017 - refused or read, as Pillow can
        return
    np.testing.assert_array_equal(values, [COLOUR])


@pytest.mark.parametrize("upright", [False, True])
def test_size_cuts_out_the_largest_centred_square_and_averages(tmp_path, upright):
    """Margins of another colour would tint the corners if any of them came in, and a smaller square would miss some."""
    image = np.full((8, 14, 3), (255, 0, 0), np.uint8)
    image[:, 3:11] = np.kron(np.array([[10, 50], [90, 200]]), np.ones((4, 4)))[..., None]
    image[0, 3:11] += 4  # a quarter of the upper squares, at the very edge
    if upright:
        image = image.swapaxes(0, 1)
    expected = np.array([[11, 51], [90, 200]])
    values = load(pictures(tmp_path, a=image), size=2).values
    np.testing.assert_array_equal(values[0], np.stack([expected.T if upright else expected] * 3, -1))


def test_mode_brings_images_to_one_kind_and_size_to_one_shape(tmp_path):
    pictures(tmp_path, a=COLOUR, b=GREY)
    luminance = np.asarray(Image.fromarray(COLOUR).convert("L"))
    np.testing.assert_array_equal(load(tmp_path, mode="gray").values, [luminance, GREY])
    np.testing.assert_array_equal(load(tmp_path, mode="rgb").values, [COLOUR, np.stack([GREY] * 3, -1)])
    pictures(tmp_path, c=np.zeros((9, 4), np.uint8))
    assert load(tmp_path, mode="gray", size=3).shape == (3, 3)


@pytest.mark.parametrize("whole", [True, False])
def test_files_are_closed(tmp_path, whole):
    Image.fromarray(GREY).save(tmp_path / ("a.gif" if whole else "a.png"))
    if not whole:
        (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-40])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        load(tmp_path) if whole else refused(tmp_path)
        gc.collect()
    assert not seen


def test_unreadable_image_is_refused(tmp_path, monkeypatch):
    pictures(tmp_path, a=GREY, b=GREY)
    lock(monkeypatch, tmp_path / "b.png")
    refused(tmp_path, "b.png: cannot be read (permission denied)")


@pytest.mark.parametrize("content", [(), ("notes.txt", "a.csv")])
def test_folder_without_images_is_refused(tmp_path, content):
    for name in content:
        (tmp_path / name).write_text("no image")
    refused(tmp_path, "holds no image files", "PNG", "idx3-ubyte", "CIFAR-10")


def test_text_under_an_image_s_name_is_refused(tmp_path):
    pictures(tmp_path, a=GREY)
    (tmp_path / "b.png").write_text("no image")
    refused(tmp_path, "b.png: is not an image that can be read", "remove it from the folder")


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # test_files_are_closed is about these
@pytest.mark.parametrize("name", ["b.png", "b.jpg", "b.bmp", "b.tif", "b.webp"])
def test_damaged_image_is_refused(tmp_path, name):
    Image.fromarray(RNG.integers(0, 256, (5, 6, 3), dtype=np.uint8)).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) * 2 // 3])
    pictures(tmp_path, a=COLOUR)
    refused(tmp_path, f"{name}: ", "remove it from the folder")


def test_mixed_sizes_are_refused(tmp_path):
    pictures(tmp_path, a=GREY, b=GREY, c=GREY[:4])
    refused(tmp_path, "mixes sizes: a.png has 6x5 pixels, c.png has 6x4; resize them to one with --size")


def test_mixed_channels_are_refused(tmp_path):
    pictures(tmp_path, a=GREY, b=COLOUR)
    refused(tmp_path, "mixes channels: a.png is gray, b.png is color; choose one with --mode gray or --mode rgb")


@pytest.mark.parametrize(
    ("size", "mode", "words"),
    [(0, None, "--size: must be at least 1 pixel, got 0"), (None, "grey", "--mode: must be gray or rgb, got 'grey'")],
)
def test_preparation_that_makes_no_sense_is_refused(size, mode, words):
    with pytest.raises(InputError, match=words):
        Preparation(size, mode)
    assert Preparation(1, "rgb").size == 1


# What cannot be read: an error with a count, or left out where that was asked for


def test_unreadable_files_and_folders_are_counted(tmp_path, monkeypatch):
    pictures(tmp_path, a=GREY, b=GREY, c=GREY)
    pictures(tmp_path / "d", e=GREY)
    lock(monkeypatch, tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(b"no image")
    said = refused(
        tmp_path, "b.png: cannot be read (permission denied)", "2 images cannot be read", "--skip-unreadable"
    )
    assert "\n" not in said
    data = load(tmp_path, skip_unreadable=True)
    assert list(data.files) == ["a.png", "d/e.png"]
    np.testing.assert_array_equal(data.values, [GREY, GREY])
    assert data.notes == ("2 images could not be read and were left out.",)
    lock(monkeypatch, tmp_path / "d")
    refused(tmp_path, "d: cannot be read (permission denied)", "1 subfolder cannot be read")
    monkeypatch.undo()
    lock(monkeypatch, tmp_path / "d")
    data = load(tmp_path, skip_unreadable=True)
    assert list(data.files) == ["a.png", "b.png"]
    assert data.notes == (
        "1 subfolder could not be read and was left out.",
        "1 image could not be read and was left out.",
    )


def test_first_image_may_be_the_unreadable_one(tmp_path):
    pictures(tmp_path, b=GREY, c=GREY)
    (tmp_path / "a.png").write_bytes(b"no image")
    refused(tmp_path, "a.png: is not an image", "1 image cannot be read")
    assert list(load(tmp_path, skip_unreadable=True).files) == ["b.png", "c.png"]
    for name in "bc":
        (tmp_path / f"{name}.png").write_bytes(b"no image")
    refused(tmp_path, "3 images cannot be read", skip_unreadable=True)


def test_images_that_differ_are_not_unreadable(tmp_path):
    pictures(tmp_path, a=GREY, b=GREY[:3])
    refused(tmp_path, "mixes sizes", skip_unreadable=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_permissions_of_the_system_are_seen(tmp_path):
    """In a process of nobody, whom permissions bind."""
    pictures(tmp_path / "data", a=GREY, b=GREY)
    pictures(tmp_path / "data" / "locked", c=GREY)
    (tmp_path / "data" / "locked").chmod(0)
    (tmp_path / "data" / "b.png").chmod(0)
    for folder in [tmp_path, *tmp_path.parents][:-2]:
        folder.chmod(folder.stat().st_mode | 0o055)
    code = (
        "import os, sys\nfrom geomem.data import load\nimport PIL.Image; PIL.Image.init()\nos.setuid(65534)\n"
        "try: load(sys.argv[1])\nexcept ValueError as error: print(error)\nprint(load(sys.argv[1], skip_unreadable=True).notes)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "data")], capture_output=True, text=True, check=False
    )
    assert "locked: cannot be read (permission denied); " in done.stdout, done.stderr
    assert "('1 subfolder could not be read and was left out.', '1 image could not be" in done.stdout


def test_links_to_folders_are_not_followed_but_told_of(tmp_path):
    folder = pictures(tmp_path / "data", a=GREY)
    (folder / "up").symlink_to(tmp_path)
    data = load(folder)
    assert list(data.files) == ["a.png"]
    assert data.notes == ("1 linked subfolder was not followed.",)
    (folder / "a.png").unlink()
    refused(folder, "holds no image files", "1 linked subfolder was not followed")


@pytest.mark.parametrize("kind", ["pipe", "circle", "nowhere"])
def test_what_only_looks_like_an_image_is_refused(tmp_path, kind):
    pictures(tmp_path, a=GREY)
    if kind == "pipe":
        os.mkfifo(tmp_path / "b.png")
    else:
        (tmp_path / "b.png").symlink_to({"circle": "b.png", "nowhere": "gone.png"}[kind])
    refused(tmp_path, "b.png: ", "1 image cannot be read")
    assert list(load(tmp_path, skip_unreadable=True).files) == ["a.png"]


@pytest.mark.parametrize(
    "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n", b"SIMPLE  =                    T"]
)
def test_only_known_formats_are_opened(tmp_path, content, monkeypatch):
    def never(*args, **options):
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", never)
    pictures(tmp_path, a=GREY)
    (tmp_path / "b.png").write_bytes(content)
    refused(tmp_path, "b.png: is not an image that can be read (PNG, JPEG, GIF")


def test_documents_name_the_formats():
    document = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    assert "PNG, JPEG, GIF, BMP, TIFF, WebP or PPM" in document
    assert ", ".join(FORMATS) == "PNG, JPEG, GIF, BMP, TIFF, WEBP, PPM"
    for number in (LARGEST_IMAGE, LARGEST_SIDE, LONGEST_HEADER):
        assert f"| {number:,}" in document


def bomb(width, height):
    """A PNG file that announces a large image and holds none of it."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("sides", [(10_000, 10_000), (30_000, 30_000), (2**31 - 1, 2**31 - 1)])
@pytest.mark.parametrize("name", ["a.png", "z.png"])
def test_bombs_are_refused_before_they_are_unpacked(tmp_path, sides, name):
    pictures(tmp_path, m=GREY)
    (tmp_path / name).write_bytes(bomb(*sides))
    refused(tmp_path, f"{name}: has more than 89,478,485 pixels")


def test_more_images_than_memory_are_refused(tmp_path, monkeypatch):
    pictures(tmp_path, a=GREY, b=GREY)
    monkeypatch.setattr("geomem.memory._free_memory", lambda: 50)
    refused(tmp_path, "2 images: needs 0.0 MiB of memory", "choose a smaller --size")
