"""The sizes of the networks, which are classes of diffusers and transformers."""

from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
)

from tta_plugins.shapes.tokenizer import CONTEXT

SIZE = 64  # pixels
LATENT_CHANNELS, LATENT_SIZE = 8, 8
TEXT_WIDTH = 128


def vae() -> AutoencoderTiny:
    """The autoencoder: 64 px to 8 x 8 x 8 latents of about unit variance. With four channels it stays at 20 dB."""
    return AutoencoderTiny(
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        num_encoder_blocks=(0, 1, 2, 2),
        num_decoder_blocks=(2, 3, 2, 0),
        latent_channels=LATENT_CHANNELS,
    )


def text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """The denoiser's text encoder: 2 layers of width 128."""
    return CLIPTextModel(CLIPTextConfig(num_hidden_layers=2, **_text(tokenizer)))


def unet() -> UNet2DConditionModel:
    """The denoiser, which predicts velocities: 8 x 8 and 4 x 4, cross attention on both, 4.3 M parameters."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(64, 128),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,  # diffusers means the number of heads
        norm_num_groups=16,
    )


def scheduler() -> DDIMScheduler:
    """Stable Diffusion's schedule, with velocity prediction."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
    )


def clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    """The reward: a vision transformer of width 96 with 3 layers on patches of 8 pixels, a text tower of width 128 with 3."""
    text = CLIPTextConfig(num_hidden_layers=3, projection_dim=TEXT_WIDTH, **_text(tokenizer))
    vision = CLIPVisionConfig(
        image_size=SIZE,
        patch_size=8,
        hidden_size=96,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        projection_dim=TEXT_WIDTH,
    )
    return CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=TEXT_WIDTH))


def image_processor() -> CLIPImageProcessor:
    """Converts images to the reward's input: 64 px, values in [-1, 1]."""
    half = [0.5, 0.5, 0.5]
    size = {"height": SIZE, "width": SIZE}
    return CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size=size, image_mean=half, image_std=half)


def _text(tokenizer: CLIPTokenizer) -> dict[str, object]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 4 * TEXT_WIDTH,
        "num_attention_heads": 4,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
