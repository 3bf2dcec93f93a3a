"""diffusers pipelines as backbones. A pipeline is recognised by the names of its class and base classes.

Pipelines with a ControlNet, an adapter or a mask are steered inside their own call: `tta_core.steering_hook`.
"""

from tta_core.plugins.hookspecs import Register, hookimpl

_HERE = "tta_plugins.backbones"


@hookimpl
def tta_register_backbones(register: Register) -> None:
    """One entry for each family of pipelines; "diffusers" loads a folder or a hub id, whose class decides the family."""
    register("diffusers", f"{_HERE}.pretrained:load_pipeline", "a folder or hub id in diffusers' layout")
    register(
        "stable-diffusion",
        f"{_HERE}.stable_diffusion:stable_diffusion",
        "Stable Diffusion 1.x and 2.x, and models with the same pipeline",
        pipelines=(
            "StableDiffusionPipeline",
            "StableDiffusionImg2ImgPipeline",
            "StableDiffusionInpaintPipeline",
            "StableDiffusionControlNetPipeline",
            "StableDiffusionControlNetImg2ImgPipeline",
            "StableDiffusionControlNetInpaintPipeline",
            "StableDiffusionAdapterPipeline",
        ),
    )
    register(
        "stable-diffusion-xl",
        f"{_HERE}.stable_diffusion_xl:stable_diffusion_xl",
        "Stable Diffusion XL",
        pipelines=(
            "StableDiffusionXLPipeline",
            "StableDiffusionXLImg2ImgPipeline",
            "StableDiffusionXLInpaintPipeline",
            "StableDiffusionXLControlNetPipeline",
            "StableDiffusionXLControlNetImg2ImgPipeline",
            "StableDiffusionXLControlNetInpaintPipeline",
            "StableDiffusionXLAdapterPipeline",
        ),
    )
    register(
        "stable-diffusion-3",
        f"{_HERE}.stable_diffusion_3:stable_diffusion_3",
        "Stable Diffusion 3 and 3.5",
        pipelines=(
            "StableDiffusion3Pipeline",
            "StableDiffusion3Img2ImgPipeline",
            "StableDiffusion3InpaintPipeline",
            "StableDiffusion3ControlNetPipeline",
        ),
    )
    register(
        "flux",
        f"{_HERE}.flux:flux",
        "FLUX.1 dev and schnell",
        pipelines=("FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline", "FluxControlNetPipeline"),
    )
    register("pixart", f"{_HERE}.pixart:pixart", "PixArt-alpha and PixArt-Sigma", pipelines=("PixArtAlphaPipeline", "PixArtSigmaPipeline"))
    register("qwen-image", f"{_HERE}.qwen_image:qwen_image", "Qwen-Image", pipelines=("QwenImagePipeline", "QwenImageImg2ImgPipeline"))
    register("z-image", f"{_HERE}.z_image:z_image", "Z-Image and Z-Image-Turbo", pipelines=("ZImagePipeline", "ZImageImg2ImgPipeline"))
    register("flux2", f"{_HERE}.flux2:flux2", "FLUX.2 dev and Klein", pipelines=("Flux2Pipeline", "Flux2KleinPipeline"))
    register("sana", f"{_HERE}.sana:sana", "Sana", pipelines=("SanaPipeline",))
    register("lumina2", f"{_HERE}.lumina2:lumina2", "Lumina-Image 2.0", pipelines=("Lumina2Pipeline", "Lumina2Text2ImgPipeline"))
    register("auraflow", f"{_HERE}.auraflow:auraflow", "AuraFlow", pipelines=("AuraFlowPipeline",))
    register("chroma", f"{_HERE}.chroma:chroma", "Chroma", pipelines=("ChromaPipeline",))
    register("kolors", f"{_HERE}.kolors:kolors", "Kolors", pipelines=("KolorsPipeline", "KolorsImg2ImgPipeline"))
    register("hunyuan-dit", f"{_HERE}.hunyuan_dit:hunyuan_dit", "Hunyuan-DiT", pipelines=("HunyuanDiTPipeline",))
