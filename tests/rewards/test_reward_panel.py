"""The scores of the panel on images with known values, and OCR on rendered text."""

import math

import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

import tta_core as tta
from tta_core.errors import IncompatibleError
from tta_core.testing import GaussianMixture, RewardSuite, vp_scheduler
from tta_core.values.images import as_pixels
from tta_plugins.methods.date import DATE
from tta_plugins.rewards.ocr import OCR, edit_distance, similarity, target_of
from tta_plugins.rewards.pixel_panel import ColourEntropy, EdgeDensity, HighFrequencyEnergy, Saturation

GREY = torch.full((1, 3, 16, 16), 0.4)
STEP = torch.cat([torch.zeros(1, 3, 16, 8), torch.ones(1, 3, 16, 8)], dim=3)
CHECKS = (torch.arange(16).view(16, 1) + torch.arange(16)).remainder(2).float().expand(1, 3, 16, 16)
RED = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand(1, 3, 16, 16)


def of(reward, images):
    return reward(images, [""] * len(images)).item()


def test_saturation():
    assert of(Saturation(), GREY) == 0
    assert of(Saturation(), RED) == 1
    assert of(Saturation(), torch.tensor([0.2, 0.5, 0.3]).view(1, 3, 1, 1)) == pytest.approx(0.3)


def test_edge_density_is_the_share_of_columns_beside_a_step():
    assert of(EdgeDensity(), GREY) == pytest.approx(0, abs=1e-9)
    assert of(EdgeDensity(), STEP) == pytest.approx(2 / 16 * 0.25 / (0.25 + 0.01), rel=1e-5)


def test_colour_entropy_counts_colours():
    halves = torch.cat([torch.zeros(1, 3, 4, 2), torch.ones(1, 3, 4, 2)], dim=3)
    assert of(ColourEntropy(), RED) == pytest.approx(0, abs=1e-5)
    assert of(ColourEntropy(), halves) == pytest.approx(1)
    levels = torch.tensor([row % 8 / 7 for row in range(8)]).view(1, 1, 8, 1).expand(1, 3, 8, 4)
    assert of(ColourEntropy(), levels) == pytest.approx(3, rel=1e-4)


def test_high_frequencies():
    slow = (0.5 + 0.4 * torch.cos(2 * math.pi * torch.arange(16) / 16)).expand(1, 3, 16, 16)
    assert of(HighFrequencyEnergy(), GREY) == pytest.approx(0, abs=1e-6)
    assert of(HighFrequencyEnergy(), slow) == pytest.approx(0, abs=1e-4)
    assert of(HighFrequencyEnergy(), CHECKS) == pytest.approx(1, rel=1e-3)


class TestColourEntropy(RewardSuite):
    smooth = False

    @pytest.fixture
    def reward(self):
        return ColourEntropy()


class TestHighFrequencyEnergy(RewardSuite):
    smooth = False

    @pytest.fixture
    def reward(self):
        return HighFrequencyEnergy()


class TestEdgeDensity(RewardSuite):
    smooth = False

    @pytest.fixture
    def reward(self):
        return EdgeDensity()


class TestSaturation(RewardSuite):
    smooth = False

    @pytest.fixture
    def reward(self):
        return Saturation()


def test_the_wanted_text_is_the_fact_or_the_quoted_span():
    assert target_of('a sign with "OPEN NOW" and "SALE"') == "OPEN NOW SALE"
    assert target_of("a sign that says \u201cHello\u201d") == "Hello"
    assert target_of("the dog's bowl says 'REX'") == "REX"
    assert target_of(tta.Prompt('a "sign"', target="STOP")) == "STOP"
    with pytest.raises(ValueError, match=r"has no target text: put it in quotes"):
        target_of("the dog's bowl")


def test_similarity_has_no_exemption_for_substrings():
    assert edit_distance("kitten", "sitting") == 3
    assert similarity("Stop", "S T O P") == 1
    assert similarity("stop", "") == 0
    assert similarity("stop", "shop") == 0.75
    assert similarity("stop", "stop stop stop") == 0
    assert similarity("stop", "stops") == 0.75


def test_a_custom_recogniser_works_and_has_no_gradient():
    reward = OCR(recognise=lambda levels: ["ST", "OP"] if levels.mean() > 100 else ["no"])
    bright, dark = torch.ones(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    assert reward(torch.cat([bright, dark]), ['"stop"', '"stop"']).tolist() == [1.0, 0.25]
    with pytest.raises(IncompatibleError, match="do not depend differentiably"):
        tta.align('"stop"', backbone=GaussianMixture(), method=DATE(), reward=reward, scheduler=vp_scheduler(2))


def rendered(text):
    image = Image.new("RGB", (320, 96), "white")
    ImageDraw.Draw(image).text((20, 20), text, fill="black", font=ImageFont.load_default(48))
    return as_pixels(image, 1)


class TestOCR(RewardSuite):
    differentiable = False

    @pytest.fixture
    def reward(self):
        """Reads the mean level."""
        ocr = OCR(recognise=lambda levels: [f"{levels.mean():.0f}"])
        return lambda images, texts: ocr(images, [tta.Prompt(text, target="128") for text in texts])


def test_a_real_recogniser_reads_rendered_text():
    pytest.importorskip("rapidocr")
    pytest.importorskip("onnxruntime")
    reward = OCR()
    right, wrong = reward(torch.cat([rendered("HELLO"), rendered("WORLD")]), ['a sign "hello"'] * 2).tolist()
    assert right == 1
    assert wrong < 0.5
    assert reward(torch.ones(1, 3, 96, 320), ['"hello"']).item() == 0
