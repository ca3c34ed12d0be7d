import struct
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dmnplus.data.example import DataError, Picture
from dmnplus.vision.image import find_images, read_image, read_pixels

RED, GREEN = (200, 30, 30), (20, 160, 40)


def halves(width: int = 40, height: int = 20) -> Image.Image:
    """Red on the left, green on the right."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height))
    return image


def close(image: Image.Image, place: tuple[int, int], colour: tuple[int, ...], by: int = 6) -> bool:
    return bool((np.abs(np.array(image)[place[1], place[0]].astype(int) - colour) <= by).all())


def test_a_plain_photo(tmp_path: Path):
    halves().save(tmp_path / "a.jpg", quality=95)
    image = read_image(tmp_path / "a.jpg")
    assert (image.mode, image.size) == ("RGB", (40, 20))
    assert close(image, (5, 10), RED)
    assert close(image, (35, 10), GREEN)


def test_the_picture_outlives_its_file(tmp_path: Path):
    halves().save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    (tmp_path / "a.png").unlink()
    assert image.getpixel((0, 0)) == RED


def test_cmyk(tmp_path: Path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    assert close(read_image(tmp_path / "a.jpg"), (8, 8), (255, 0, 0))


def test_palette(tmp_path: Path):
    halves().quantize(4).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert close(image, (1, 1), RED)
    assert close(image, (38, 1), GREEN)


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path: Path, ending: str):
    grey = np.array([[257, 128 * 257, 200 * 257]], dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / f"a.{ending}")
    image = read_image(tmp_path / f"a.{ending}")
    assert np.array(image)[0].tolist() == [[v, v, v] for v in (1, 128, 200)]


@pytest.mark.parametrize("values", [[-2.0, 0.5, 3.0], [0.0, 0.5, 1.0], [100.0, float("nan"), 300.0]])
def test_floating_point_grey_is_stretched(tmp_path: Path, values: list[float]):
    Image.fromarray(np.array([values], dtype=np.float32)).save(tmp_path / "a.tif")
    found = np.array(read_image(tmp_path / "a.tif"))[0, :, 0]
    assert found.max() == 255
    assert found.min() == 0


def test_wide_integer_grey_is_stretched(tmp_path: Path):
    Image.fromarray(np.array([[0, 500_000, 1_000_000]], dtype=np.int32)).save(tmp_path / "a.tif")
    assert np.array(read_image(tmp_path / "a.tif"))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        # As if they were 16-bit greys, both would be nearly black.
        ([0, 100, 255], [0, 100, 255]),
        ([1000, 1100, 1255], [0, 100, 255]),
        ([0, 0, 65535], [0, 0, 255]),
        # Nothing to stretch: what they are counts.
        ([255, 255, 255], [255, 255, 255]),
        ([70_000, 70_000, 70_000], [255, 255, 255]),
        ([-5, -5, -5], [0, 0, 0]),
    ],
)
def test_wide_integer_grey_is_stretched_whatever_its_range(tmp_path: Path, values: list[int], found: list[int]):
    exif = Image.Exif()
    # Turned, a picture no longer says which format it came from.
    exif[0x0112] = 3
    Image.fromarray(np.array([values], dtype=np.int32)).save(tmp_path / "a.tif", exif=exif)
    assert np.array(read_image(tmp_path / "a.tif"))[0, ::-1, 0].tolist() == found


def test_a_transparent_sixteen_bit_grey_becomes_white(tmp_path: Path):
    Image.fromarray(np.array([[7, 8, 257]], dtype=np.uint16)).save(tmp_path / "a.png", transparency=7)
    assert np.array(read_image(tmp_path / "a.png"))[0, :, 0].tolist() == [255, 0, 1]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_becomes_white(tmp_path: Path, mode: str):
    image = Image.new(mode, (8, 8), (0,) * len(mode))
    image.paste((0,) * (len(mode) - 1) + (255,), (4, 0, 8, 8))
    image.save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png")
    assert found.getpixel((0, 0)) == (255, 255, 255)
    assert found.getpixel((6, 0)) == (0, 0, 0)


def test_a_transparent_palette_colour_becomes_white(tmp_path: Path):
    image = Image.new("P", (8, 8), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (4, 0, 8, 8))
    image.save(tmp_path / "a.gif", transparency=0)
    found = read_image(tmp_path / "a.gif")
    assert found.getpixel((0, 0)) == (255, 255, 255)
    assert found.getpixel((6, 0)) == (0, 0, 255)


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
def test_exif_rotation_is_applied(tmp_path: Path, ending: str):
    exif = Image.Exif()
    # As held, the top of the picture is on its right: turned upright, red comes to the top.
    exif[0x0112] = 6
    halves().save(tmp_path / f"a.{ending}", exif=exif, quality=95)
    image = read_image(tmp_path / f"a.{ending}")
    assert image.size == (20, 40)
    assert close(image, (10, 5), RED, 12)
    assert close(image, (10, 35), GREEN, 12)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_agrees_with_pillow(tmp_path: Path, orientation: int):
    from PIL import ImageOps

    image = Image.fromarray(np.arange(36, dtype=np.uint8).reshape(3, 4, 3))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as held:
        expected = ImageOps.exif_transpose(held)
    assert np.array_equal(read_image(tmp_path / "a.png"), expected)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_data_do_not_spoil_a_sound_picture(tmp_path: Path):
    halves().save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xffnonsense")
    assert read_image(tmp_path / "a.jpg").size == (40, 20)


def test_one_pixel(tmp_path: Path):
    Image.new("RGB", (1, 1), RED).save(tmp_path / "a.png")
    assert (read_pixels(tmp_path / "a.png", 7) == RED).all()


def test_very_wide(tmp_path: Path):
    halves(20_000, 3).save(tmp_path / "a.png")
    pixels = read_pixels(tmp_path / "a.png", 32)
    assert pixels.shape == (32, 32, 3)
    assert (pixels[:, 2] == RED).all()
    assert (pixels[:, 29] == GREEN).all()


def test_of_an_animation_the_first_frame(tmp_path: Path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.gif").getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tif"])
def test_more_than_one_frame_is_refused_where_asked(tmp_path: Path, ending: str):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=rf"a\.{ending}: is an animation or has several pages \(3 frames\)"):
        read_image(tmp_path / f"a.{ending}", animations=False)
    frames[0].save(tmp_path / f"b.{ending}")
    assert read_image(tmp_path / f"b.{ending}", animations=False)
    # A camera's second view is no animation.
    frames[0].save(tmp_path / "c.jpg", "MPO", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "c.jpg", animations=False)


@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
def test_truncated(tmp_path: Path, ending: str):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"a\.{ending}: (damaged or not readable|is not a picture).*(replace|remove)"):
        read_image(path)


@pytest.mark.parametrize(
    "content", [b"", b"<html>not found</html>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"]
)
def test_not_a_picture(tmp_path: Path, content: bytes):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.jpg: is not a picture"):
        read_image(tmp_path / "a.jpg")


def test_missing_or_a_folder(tmp_path: Path):
    with pytest.raises(DataError, match=r"a\.jpg: there is no such file"):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="is not a file"):
        read_image(tmp_path)
    with pytest.raises(DataError, match=r"x\.jpg: .*\(File name too long\)"):
        read_image(tmp_path / f"{'x' * 300}.jpg")


def bomb(path: Path, width: int, height: int) -> None:
    """A PNG that announces a size and has no content: decoding it would fail in another way."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


@pytest.mark.parametrize("width", [9_500, 100_000])
def test_a_decompression_bomb_is_refused_unread(tmp_path: Path, width: int):
    before = Image.MAX_IMAGE_PIXELS
    bomb(tmp_path / "a.png", width, 10_000)
    with pytest.raises(
        DataError, match=rf"a\.png: {width} x 10000 is {width * 10_000:,} pixels.*89,478,485; make it smaller"
    ):
        read_image(tmp_path / "a.png")
    assert before == Image.MAX_IMAGE_PIXELS


def test_the_limit_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    halves().save(tmp_path / "a.png")
    with pytest.raises(DataError, match="40 x 20 is 800 pixels, more than the limit of 799"):
        read_image(tmp_path / "a.png", max_pixels=799)
    assert read_image(tmp_path / "a.png", max_pixels=800)
    # Ours counts, also above Pillow's.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_image(tmp_path / "a.png", max_pixels=800)


def test_a_box_is_cut_out_of_the_upright_picture(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    halves().save(tmp_path / "a.png", exif=exif)
    image = read_image(Picture(str(tmp_path / "a.png"), (0, 0, 1, 0.5)))
    assert image.size == (20, 20)
    assert image.getcolors() == [(400, RED)]


def test_boxes_side_by_side_share_no_pixel_and_are_never_empty(tmp_path: Path):
    halves(10, 10).save(tmp_path / "a.png")
    cuts = [0, 1 / 3, 2 / 3, 1]
    boxes = [(left, 0.0, right, 1.0) for left, right in pairwise(cuts)]
    sizes = [read_image(Picture(str(tmp_path / "a.png"), box)).width for box in boxes]
    assert sum(sizes) == 10
    assert read_image(Picture(str(tmp_path / "a.png"), (0.999, 0.999, 1, 1))).size == (1, 1)


@pytest.mark.parametrize("box", [(0.5, 0, 0.5, 1), (-0.1, 0, 1, 1), (0, 0, 1, 1.5), (0, 0, float("nan"), 1)])
def test_an_impossible_box(tmp_path: Path, box: tuple[float, float, float, float]):
    halves().save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png\[.*the box is not"):
        read_image(Picture(str(tmp_path / "a.png"), box))


def test_pictures_are_found_by_ending_in_order(tmp_path: Path):
    (tmp_path / "b").mkdir()
    for name in ("b/2.JPG", "b/10.png", "a.webp", "notes.txt", ".hidden.jpg"):
        (tmp_path / name).touch()
    assert find_images(tmp_path) == ["a.webp", "b/10.png", "b/2.JPG"]
    assert find_images(tmp_path / "notes.txt") == ["notes.txt"]
    with pytest.raises(DataError, match="no such file or folder"):
        find_images(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no pictures are in it"):
        find_images(tmp_path / "empty")
