"""The authors' published numbers, with real weights: `pytest --runslow --weights DIR`; docs/scores.md describes the contents of DIR."""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

import tta_core as tta
from tta_plugins.rewards.aesthetic import OFFICIAL, Aesthetic
from tta_plugins.rewards.aesthetic_v25 import AestheticV25
from tta_plugins.rewards.clip import CLIPScore
from tta_plugins.rewards.clip_flant5 import CLIPFlanT5
from tta_plugins.rewards.cyclereward import CycleReward
from tta_plugins.rewards.dino import DINOSimilarity
from tta_plugins.rewards.hpsv2 import HPSv2
from tta_plugins.rewards.hpsv3 import HPSv3
from tta_plugins.rewards.imagereward import ImageReward
from tta_plugins.rewards.mps import MPS
from tta_plugins.rewards.nsfw import Safety
from tta_plugins.rewards.pickscore import PickScore
from tta_plugins.rewards.siglip2 import SigLIP2
from tta_plugins.rewards.soft_tifa import SoftTIFA
from tta_plugins.rewards.vqascore import VQAScore

pytestmark = [pytest.mark.weights, pytest.mark.slow]


def needed(folder, *names):
    paths = [folder / name for name in names]
    absent = [str(path) for path in paths if not path.exists()]
    if absent:
        pytest.skip(f"needs {', '.join(absent)}")
    return paths


def opened(file):
    return torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1)[None].float() / 255


def test_imagereward_of_the_authors_four_images(weights_dir):
    names = [f"images/imagereward/{n}.webp" for n in (1, 2, 3, 4)]
    folder, tokenizer, *files = needed(weights_dir, "THUDM/ImageReward", "google-bert/bert-base-uncased", *names)
    prompt = "a painting of an ocean with clouds and birds, day time, low depth field effect"
    images = torch.cat([opened(file) for file in files])
    expected = torch.tensor([0.5811622738838196, 0.2745276093482971, -1.4131819009780884, -2.029569625854492])
    official, diff = (ImageReward(folder, tokenizer=tokenizer, preprocess=path)(images, [prompt] * 4) for path in ("official", "diff"))
    assert (official - expected).abs().max() < 1e-3
    assert (diff - expected).abs().max() < 2e-2


def test_hps_of_the_authors_demo_image(weights_dir):
    folder, tokenizer, file = needed(weights_dir, "xswu/HPSv2", "openai/clip-vit-large-patch14", "images/hpsv2/demo_image.jpg")
    scores = [
        HPSv2(folder, tokenizer=tokenizer, preprocess=path)(opened(file), ["A cat with two horns on its head"]).item()
        for path in ("official", "official-no-antialias")
    ]
    assert min(abs(score - 0.2876) for score in scores) < 5e-4
    assert max(abs(score - 0.2876) for score in scores) < 2e-2


def test_pickscore_has_the_temperature_of_clip(weights_dir):
    folder, tokenizer = needed(weights_dir, "yuvalkirstain/PickScore_v1", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K")
    reward = PickScore(folder, tokenizer=tokenizer)
    assert 90 < reward._cosine.temperature < 100.01
    low, high = reward.card.range
    assert low - 5 < reward(torch.full((1, 3, 512, 512), 0.5), ["a grey square"]).item() < high + 5


def test_the_aesthetic_head_is_the_official_affine_function(weights_dir):
    folder, clip = needed(weights_dir, "aesthetic", "openai/clip-vit-large-patch14")
    reward = Aesthetic(folder, clip=clip)
    (file,) = folder.glob("*.pth")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == OFFICIAL
    assert reward.card.version.startswith("sac+logos+ava1")
    head = reward._predictor.head
    assert head.weight.double().norm().item() == pytest.approx(17.99562, abs=1e-5)
    assert head.bias.item() == pytest.approx(5.236646, abs=1e-5)
    assert 2 < reward(torch.rand(1, 3, 512, 512), [""]).item() < 8


def test_clip_prefers_the_right_words(weights_dir):
    (folder,) = needed(weights_dir, "openai/clip-vit-large-patch14")
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(2, 3, 224, 224)
    right, wrong = CLIPScore(folder)(red, ["a plain red image", "a photo of two dogs"]).tolist()
    assert right > wrong
    assert 0 < right < 0.4


HPS3 = ("MizzenAI/HPSv3", "HPSv3/instruction.txt", "Qwen/Qwen2-VL-7B-Instruct")
BERT = "google-bert/bert-base-uncased"
LAION = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
WITH_WORDS = {
    "vqascore-qwen2.5": (("Qwen/Qwen2.5-VL-7B-Instruct",), lambda a, path: VQAScore(a, preprocess=path)),
    "vqascore-qwen3": (("Qwen/Qwen3-VL-8B-Instruct",), lambda a, path: VQAScore(a, preprocess=path)),
    "clip-flant5": (
        ("zhiqiulin/clip-flant5-xl", "google/flan-t5-xl", "openai/clip-vit-large-patch14-336"),
        lambda a, b, c, path: CLIPFlanT5(a, b, c, preprocess=path),
    ),
    "hpsv3": (HPS3, lambda a, b, c, path: HPSv3(b, a, c, preprocess=path)),
    "siglip2": (("google/siglip2-so400m-patch14-384",), lambda a, path: SigLIP2(a, preprocess=path)),
    "mps": (("MPS", LAION), lambda a, b, path: MPS(a, b, preprocess=path)),
    "cyclereward": (("CycleReward", BERT), lambda a, b, path: CycleReward(a, tokenizer=b, preprocess=path)),
}


@pytest.mark.parametrize("name", WITH_WORDS)
def test_the_right_words_score_higher_on_both_image_paths(weights_dir, name):
    files, make = WITH_WORDS[name]
    paths = needed(weights_dir, *files)
    red = torch.tensor([0.9, 0.05, 0.05]).view(1, 3, 1, 1).expand(2, 3, 256, 320)
    (right, wrong), other = (make(*paths, path=path)(red, ["a plain red image", "a photo of two dogs"]) for path in ("diff", "official"))
    assert right > wrong
    assert (other[0] - right).abs() < 0.1 * (right - wrong)


def test_soft_tifa_distinguishes_colours(weights_dir):
    (folder,) = needed(weights_dir, "Qwen/Qwen3-VL-8B-Instruct")
    red = torch.tensor([0.9, 0.05, 0.05]).view(1, 3, 1, 1).expand(2, 3, 256, 256)
    prompts = [tta.Prompt("a plain image", questions=[("Which colour is this image?", colour)]) for colour in ("red", "blue")]
    right, wrong = SoftTIFA(folder)(red, prompts).tolist()
    assert right > 0.5 > wrong


def test_image_rewards_stay_in_their_ranges(weights_dir):
    names = ("aesthetic-v2.5", "google/siglip-so400m-patch14-384", "facebook/dinov2-large", "safety")
    head, tower, dino, classifier = needed(weights_dir, *names)
    grey = torch.full((1, 3, 400, 300), 0.5)
    beauty = AestheticV25(head, tower)
    low, high = beauty.card.range
    assert low - 1 < beauty(grey, [""]).item() < high
    assert Safety(classifier)(grey, [""]).item() > 0
    assert DINOSimilarity(weights=dino)(grey, [tta.Prompt("", reference=grey[0])]).item() == pytest.approx(1, abs=1e-4)
