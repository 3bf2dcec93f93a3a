"""Images of every mode, depth and size are read correctly, or refused by name."""

import os
import struct
import zlib

import numpy
import pytest
import torch
from PIL import Image

from tta_core.errors import InputError, LoadError
from tta_core.values.images import as_pixels, from_pil, read_image

LEVELS = numpy.arange(12, dtype=numpy.uint8).reshape(3, 4) * 20


def saved(folder, image, name="image.png", **options):
    image.save(folder / name, **options)
    return folder / name


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "CMYK"])
def test_eight_bit_modes_are_their_rgb(tmp_path, mode):
    image = Image.fromarray(LEVELS).convert(mode)
    expected = torch.from_numpy(numpy.array(image.convert("RGB"))).permute(2, 0, 1) / 255
    assert torch.equal(read_image(saved(tmp_path, image, "image.tif")), expected)


def test_one_bit_and_palette_images(tmp_path):
    black_and_white = Image.fromarray((LEVELS > 99).astype(numpy.uint8) * 255).convert("1")
    assert read_image(saved(tmp_path, black_and_white)).unique().tolist() == [0, 1]
    palette = Image.fromarray(LEVELS).convert("P")
    assert (read_image(saved(tmp_path, palette))[0] * 255 - torch.from_numpy(LEVELS)).abs().max() < 1


def test_sixteen_bits_are_sixteen_bits(tmp_path):
    deep = Image.fromarray(numpy.array([[0, 32768, 65535]], dtype=numpy.uint16))
    for name in ("deep.png", "deep.tif"):
        torch.testing.assert_close(read_image(saved(tmp_path, deep, name))[0, 0], torch.tensor([0, 32768 / 65535, 1]))


def test_floats_in_range_are_themselves_and_others_are_refused(tmp_path):
    fine = Image.fromarray(numpy.array([[0, 0.25, 1]], dtype=numpy.float32))
    torch.testing.assert_close(read_image(saved(tmp_path, fine, "fine.tif"))[1, 0], torch.tensor([0, 0.25, 1]))
    for levels in ([[0, 255.0]], [[float("nan"), 0]]):
        with pytest.raises(InputError, match=r"mode F has values in \["):
            from_pil(Image.fromarray(numpy.array(levels, dtype=numpy.float32)))


def test_thirty_two_bit_integers_are_refused(tmp_path):
    deep = Image.fromarray(numpy.array([[0, 70000]], dtype=numpy.int32))
    with pytest.raises(LoadError, match=r"deep\.tif.*no defined white"):
        read_image(saved(tmp_path, deep, "deep.tif"))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_is_refused_in_memory_too(mode):
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 128)).convert(mode)
    with pytest.raises(InputError, match="partly transparent"):
        as_pixels(image, 1)


def test_a_transparent_colour_of_a_palette_is_transparency(tmp_path):
    image = Image.fromarray(LEVELS).convert("P")
    with pytest.raises(LoadError, match="partly transparent"):
        read_image(saved(tmp_path, image, transparency=0))


def test_photographs_are_rotated_by_their_exif_tag(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    assert read_image(saved(tmp_path, Image.fromarray(LEVELS), exif=exif)).shape == (3, 4, 3)


def png_of(width, height):
    """A valid PNG with one bit per pixel, small on disk."""
    rows = zlib.compress(bytes(1 + (width + 7) // 8) * height, 9)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")]
    written = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


def test_a_decompression_bomb_is_refused(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png_of(15000, 12500))
    with pytest.raises(LoadError, match=r"bomb\.png could not be read .*decompression bomb"):
        read_image(tmp_path / "bomb.png")


def test_files_that_are_not_images_are_named_without_blocking(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty.png").touch()
    whole = saved(tmp_path, Image.fromarray(LEVELS), "whole.png").read_bytes()
    for cut in range(1, len(whole) - 24, 7):
        (tmp_path / "cut.png").write_bytes(whole[:cut])
        with pytest.raises(LoadError, match="cut"):
            read_image(tmp_path / "cut.png")
    for name in ("pipe", "folder", "empty", "absent"):
        with pytest.raises(LoadError, match=rf"{name}\.png.*could not be read as an image"):
            read_image(tmp_path / f"{name}.png")


def test_an_animation_is_refused(tmp_path):
    first, second = Image.new("RGB", (4, 4)), Image.new("RGB", (4, 4), (255, 0, 0))
    with pytest.raises(LoadError, match="2 frames"):
        read_image(saved(tmp_path, first, "moving.gif", save_all=True, append_images=[second]))


def test_paths_images_and_tensors_give_the_same_pixels(tmp_path):
    image = Image.fromarray(numpy.stack([LEVELS] * 3, -1))
    path = saved(tmp_path, image)
    pixels = read_image(path)[None]
    for given in (path, str(path), image, [image], pixels, pixels.double()):
        assert torch.equal(as_pixels(given, 2), pixels)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.rand(1, 3, 4, 4, device="meta"), "without data"),
        (torch.rand(1, 3, 4, 4).to_sparse(), "sparse"),
        (torch.rand(1, 3, 4, 4, dtype=torch.complex64), "complex64"),
        (torch.rand(1, 3, 4, 4).to(torch.float8_e4m3fn), "float8"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), r"uint8.*/ 255"),
        (torch.rand(1, 3, 0, 4), r"shape \(1, 3, 0, 4\)"),
        (torch.rand(1, 3, 4, 4) * 2 + 1, r"values lie in"),
    ],
)
def test_tensors_that_are_not_images_are_refused(tensor, message):
    with pytest.raises(InputError, match=message):
        as_pixels(tensor, 1)


def test_an_empty_image_is_refused():
    with pytest.raises(InputError, match="empty, 0 x 4"):
        as_pixels(Image.new("RGB", (0, 4)), 1)
