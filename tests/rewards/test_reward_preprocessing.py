"""Preprocessing of images, compared with the official transforms and with Pillow."""

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from tiny_rewards import FIXTURES, STD
from torch.nn.functional import interpolate

from tta_core.errors import IncompatibleError, InputError
from tta_plugins.rewards.preprocessing import CLIP_PATHS, HPS_PATHS, IMAGEREWARD_PATHS, PICKSCORE_PATHS, Pixels, path_named
from tta_plugins.rewards.resize import resize, resize_pillow

RECORDED = load_file(FIXTURES / "preprocess" / "preprocess.safetensors")
OFFICIAL = {
    "clip_official": CLIP_PATHS["official"],
    "hf_pil": PICKSCORE_PATHS["official"],
    "hps_official": HPS_PATHS["official"],
    "hps_official_tv016": HPS_PATHS["official-no-antialias"],
    "reno_refl": CLIP_PATHS["reno"],
    "das_bilinear": CLIP_PATHS["das"],
    "das_bilinear_noaa": CLIP_PATHS["date"],
}
CASES = [name for name in RECORDED if not name.endswith(".uint8")]
PATHS = {path for family in (CLIP_PATHS, PICKSCORE_PATHS, IMAGEREWARD_PATHS, HPS_PATHS) for path in family.values()}
SIDES = st.integers(1, 60)
WIDE = st.integers(2, 60)


def image(case):
    return RECORDED[f"{case}.uint8"].permute(2, 0, 1)[None].float() / 255


def random_image(seed, height, width, binary=False):
    levels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.where(levels > 127, 255, 0).astype(np.uint8) if binary else levels


def as_tensor(levels):
    return torch.from_numpy(levels.copy()).permute(2, 0, 1)[None].float().contiguous() / 255


def as_levels(images):
    return (images[0] * 255).round().permute(1, 2, 0).to(torch.uint8).numpy()


@pytest.mark.parametrize("name", CASES)
def test_matches_the_official_transform_within_a_thousandth_of_a_grey_level(name):
    case, transform = name.split(".")
    pixels = Pixels(OFFICIAL[transform], 56)(image(case))[0]
    levels = ((pixels - RECORDED[name]) * STD * 255).abs().max()
    assert levels == 0 if transform in ("clip_official", "hf_pil") else levels < 1e-3


@pytest.mark.parametrize("case", ["square", "landscape", "portrait", "small"])
def test_other_filters_are_detected(case):
    official, diff = (CLIP_PATHS[name](image(case), 56) for name in ("official", "diff"))
    plain = HPS_PATHS["null-tta"](image("square"), 56) - CLIP_PATHS["official"](image("square"), 56)
    assert (official - diff).abs().mean() * 255 < 0.6
    assert plain.abs().mean() * 255 > 1


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 999), SIDES, SIDES, SIDES, SIDES, st.booleans())
def test_pillow_resize_is_bit_identical_in_each_pass_at_any_size(seed, height, width, new_height, new_width, binary):
    levels = random_image(seed, height, width, binary)
    wide = Image.fromarray(levels).resize((new_width, height), Image.Resampling.BICUBIC)
    expected = np.asarray(wide.resize((new_width, new_height), Image.Resampling.BICUBIC))
    assert (as_levels(resize_pillow(as_tensor(levels), (new_height, new_width))) == expected).all()


@pytest.mark.parametrize(("height", "width"), [(97, 97), (64, 96), (120, 80), (31, 45), (57, 56)])
def test_pillow_resize_is_pillows_own_where_the_aspect_ratio_is_kept(height, width):
    levels, size = random_image(0, height, width), CLIP_PATHS["official"]._size(height, width, 56)
    expected = np.asarray(Image.fromarray(levels).resize(size[::-1], Image.Resampling.BICUBIC))
    assert (as_levels(resize_pillow(as_tensor(levels), size)) == expected).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), WIDE, WIDE, WIDE, WIDE, st.sampled_from(["bicubic", "bilinear"]))
def test_float_resize_is_torchs_antialiased_one(seed, height, width, new_height, new_width, kernel):
    """Torch's resize is wrong for images that are one pixel wide, so those are left out."""
    x = as_tensor(random_image(seed, height, width))
    expected = interpolate(x, (new_height, new_width), mode=kernel, antialias=True, align_corners=False)
    assert (resize(x, (new_height, new_width), kernel) - expected).abs().max() * 255 < 0.01


def test_float_resize_is_twice_differentiable():
    x, v = torch.rand(1, 3, 9, 7, requires_grad=True), torch.rand(1, 3, 9, 7)
    (slope,) = torch.autograd.grad(resize(x, (5, 4)).square().sum() / 2, x, create_graph=True)
    (curvature,) = torch.autograd.grad((slope * v).sum(), x)
    (expected,) = torch.autograd.grad((resize(x, (5, 4)) * resize(v, (5, 4))).sum(), x)
    torch.testing.assert_close(curvature, expected)


def test_resizing_a_cut_gives_the_pixels_of_the_whole():
    x = torch.rand(2, 3, 30, 20)
    for resized in (resize, resize_pillow):
        torch.testing.assert_close(resized(x, (12, 18), rows=(2, 9), columns=(0, 5)), resized(x, (12, 18))[..., 2:9, :5])


@pytest.mark.parametrize("path", sorted(PATHS, key=str), ids=lambda path: "-".join(map(str, attrs.astuple(path))))
@pytest.mark.parametrize(("height", "width"), [(1, 1), (16, 16), (100, 100), (1, 40), (300, 2), (37, 53)])
def test_every_path_takes_every_image_and_passes_a_finite_gradient(path, height, width):
    if path.fit == "square" and height != width:
        with pytest.raises(IncompatibleError, match=f"{height} x {width} pixels"):
            path(torch.zeros(1, 3, height, width), 16)
        return
    x = torch.rand(2, 3, height, width, requires_grad=True)
    y = path(x, 16)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert y.shape == (2, 3, 16, 16)
    assert y.dtype == torch.float32
    assert torch.isfinite(y).all()
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0
    torch.testing.assert_close(path(x[:1], 16), y[:1])


def test_roundings_pass_the_float_paths_gradient():
    x = torch.rand(1, 3, 40, 40, requires_grad=True)
    weights = torch.randn(1, 3, 16, 16)
    official, diff = (torch.autograd.grad((CLIP_PATHS[name](x, 16) * weights).sum(), x)[0] for name in ("official", "diff"))
    torch.testing.assert_close(official, diff)


def test_a_panorama_is_cropped_to_its_centre():
    assert CLIP_PATHS["official"](torch.rand(1, 3, 1, 5000), 224).shape == (1, 3, 224, 224)


def test_values_cached_in_inference_mode_can_be_used_for_a_later_gradient():
    x = torch.rand(1, 3, 23, 23)
    with torch.inference_mode():
        CLIP_PATHS["diff"](x, 11)
    CLIP_PATHS["diff"](x.requires_grad_(), 11).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_autocast_leaves_the_resize_in_float32():
    x = torch.rand(1, 3, 40, 40)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(resize(x, (16, 16)), resize(x, (16, 16)).float())
        inside = CLIP_PATHS["official"](x, 16)
    assert torch.equal(inside, CLIP_PATHS["official"](x, 16))


def test_an_unknown_path_lists_the_known_ones():
    with pytest.raises(InputError, match=r"preprocess='das2'.*official, diff, das"):
        path_named("das2", CLIP_PATHS)
