"""Rewards: human preference models, CLIP, aesthetics, pixel statistics, mixtures, and functions that score images."""

from tta_core.plugins.hookspecs import Register, hookimpl


@hookimpl
def tta_register_rewards(register: Register) -> None:
    """Names and one line each; nothing is imported until a name is used."""
    for name, (target, summary) in _ENTRIES.items():
        register(name, f"tta_plugins.rewards.{target}", summary)


_ENTRIES = {
    "clip": ("clip:CLIPScore", "agreement of image and prompt: cosine of CLIP embeddings"),
    "pickscore": ("pickscore:PickScore", "human preference given the prompt, 17 to 24 (or a cosine)"),
    "hpsv2": ("hpsv2:HPSv2", "human preference given the prompt, a cosine of 0.23 to 0.29"),
    "hpsv2.1": ("hpsv2:HPSv21", "the same, version 2.1, a cosine of 0.14 to 0.32"),
    "imagereward": ("imagereward:ImageReward", "human preference given the prompt, about N(0, 1)"),
    "aesthetic": ("aesthetic:Aesthetic", "LAION's aesthetic score on a scale of 1 to 10, without the prompt"),
    "vqascore": ("vqascore:VQAScore", "P(Yes) that the image shows the prompt, by a Qwen vision-language model"),
    "clip-flant5": ("clip_flant5:CLIPFlanT5", "VQAScore by its authors' model: P(Yes) that the image shows the prompt"),
    "soft-tifa": ("soft_tifa:SoftTIFA", "mean probability of the expected answers to the prompt's questions"),
    "mps": ("mps:MPS", "human preference given the prompt, by CLIP-H with cross attention"),
    "hpsv3": ("hpsv3:HPSv3", "human preference given the prompt, by a Qwen2-VL, unbounded"),
    "siglip2": ("siglip2:SigLIP2", "agreement of image and prompt: logit or cosine of SigLIP 2"),
    "cyclereward": ("cyclereward:CycleReward", "agreement of image and prompt, learned from cycle consistency"),
    "aesthetic-v2.5": ("aesthetic_v25:AestheticV25", "aesthetic score on a scale of 1 to 10 by SigLIP, without the prompt"),
    "safety": ("nsfw:Safety", "log-odds that the image is safe, by a classifier; a constraint"),
    "dino": ("dino:DINOSimilarity", "similarity to a reference image: cosine of DINO features"),
    "ocr": ("ocr:OCR", "how much of the target text can be read, 0 to 1; not differentiable"),
    "saturation": ("pixel_panel:Saturation", "mean chroma, 0 (grey) to 1"),
    "edge-density": ("pixel_panel:EdgeDensity", "share of pixels on an edge, 0 to 1"),
    "colour-entropy": ("pixel_panel:ColourEntropy", "entropy of the colours in bits, 0 to 9"),
    "high-frequency": ("pixel_panel:HighFrequencyEnergy", "share of spectral energy above a quarter cycle per pixel"),
    "darkness": ("pixels:Darkness", "minus the mean pixel value; black is 0"),
    "brightness": ("pixels:Brightness", "the mean pixel value; white is 1"),
    "contrast": ("pixels:Contrast", "standard deviation of the luma, 0 to 0.5"),
    "colourfulness": ("pixels:Colourfulness", "Hasler and Suesstrunk's M3, 0 (grey) to 110"),
    "sharpness": ("pixels:Sharpness", "variance of the luma's Laplacian"),
    "jpeg": ("jpeg:Compressibility", "compressibility: minus the JPEG size in kB; not differentiable"),
    "remote": ("remote.reward:RemoteReward", "a reward in another Python, with gradients; see docs/scores.md"),
    "incompressibility": ("jpeg:Incompressibility", "the JPEG size in kB; not differentiable"),
}
