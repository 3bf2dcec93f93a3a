"""Random pipelines of every family, small enough to build in a test: 32 x 32 pixels, 16 x 16 latents."""

import json

import sentencepiece
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    HunyuanDiT2DModel,
    HunyuanDiTPipeline,
    KolorsPipeline,
    LCMScheduler,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel
from diffusers.pipelines.kolors.tokenizer import ChatGLMTokenizer
from tiny_transformers import FAMILIES as LANGUAGE_MODELS
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

WORDS = ["a", "red", "blue", "circle", "two", "squares", "in", "the", "rain", "dull"]
CURVE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def clip_tokenizer(folder, pad):
    folder.mkdir()
    letters = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256))]
    letters += [chr(256 + n) for n in range(256 - len(letters))]
    words = [*letters, *(letter + "</w>" for letter in letters), "re", "red</w>", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: row for row, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\nr e\nre d</w>\n")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": pad}
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 77, **special}))
    return CLIPTokenizer.from_pretrained(folder)


def t5_tokenizer(folder):
    folder.mkdir()
    pieces = ["<pad>", "</s>", "<unk>", *("▁" + word for word in WORDS), *"▁abcdefghijklmnopqrstuvwxyz"]
    made = Tokenizer(models.Unigram([(piece, -float(row)) for row, piece in enumerate(pieces)], unk_id=2))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    made.save(str(folder / "tokenizer.json"))
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "extra_ids": 0}
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 512, **special}))
    return T5TokenizerFast.from_pretrained(folder)


def chatglm_tokenizer(folder):
    folder.mkdir()
    sentences = ["a red circle", "two blue squares in the rain", "dull"] * 20
    settings = {"vocab_size": 40, "hard_vocab_limit": False, "pad_id": 3, "minloglevel": 2}
    with (folder / "tokenizer.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(sentences), model_writer=file, **settings)
    return ChatGLMTokenizer(str(folder / "tokenizer.model"))


def clip_encoder(tokenizer, width=32, projection=None):
    size = len(tokenizer)
    config = CLIPTextConfig(
        vocab_size=size,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=size - 2,
        eos_token_id=size - 1,
        pad_token_id=tokenizer.pad_token_id,
        projection_dim=projection or width,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


def t5_encoder(tokenizer, width=32):
    return T5EncoderModel(T5Config(vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=64, num_layers=2, num_heads=2))


def vae(channels=4, **options):
    defaults = {
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "block_out_channels": (4, 8),
        "latent_channels": channels,
        "norm_num_groups": 2,
        "sample_size": 32,
    }
    return AutoencoderKL(**{**defaults, **options})


def unet(**options):
    defaults = {
        "sample_size": 16,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 32,
        "attention_head_dim": 2,
        "norm_num_groups": 2,
    }
    return UNet2DConditionModel(**{**defaults, **options})


SDXL = {
    "cross_attention_dim": 64,
    "transformer_layers_per_block": (1, 2),
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + 32,
}
# The refiner takes the second text encoder alone, and an aesthetic score instead of the target size.
REFINER = {**SDXL, "cross_attention_dim": 32, "projection_class_embeddings_input_dim": 5 * 8 + 32}


def ddim(**options):
    return DDIMScheduler(**CURVE, clip_sample=False, set_alpha_to_one=False, steps_offset=1, **options)


def stable_diffusion(folder, *, v=False):
    tokenizer = clip_tokenizer(folder / "clip", "!" if v else "<|endoftext|>")
    options = {"use_linear_projection": True, "attention_head_dim": (2, 4)} if v else {}
    return StableDiffusionPipeline(
        vae=vae(),
        text_encoder=clip_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=unet(**options),
        scheduler=ddim(prediction_type="v_prediction" if v else "epsilon"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def with_tiny_autoencoder(folder):
    """A pipeline of the embedded model's structure: AutoencoderTiny, eight latent channels, v-prediction."""
    tokenizer = clip_tokenizer(folder / "clip", "<|endoftext|>")
    small = AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
        latent_channels=8,
    )
    return StableDiffusionPipeline(
        vae=small,
        text_encoder=clip_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=unet(in_channels=8, out_channels=8),
        scheduler=ddim(prediction_type="v_prediction"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl(folder):
    first, second = clip_tokenizer(folder / "clip", "<|endoftext|>"), clip_tokenizer(folder / "clip2", "!")
    return StableDiffusionXLPipeline(
        vae=vae(scaling_factor=0.13025, force_upcast=True),
        text_encoder=clip_encoder(first),
        text_encoder_2=clip_encoder(second, projection=32),
        tokenizer=first,
        tokenizer_2=second,
        unet=unet(**SDXL),
        scheduler=EulerDiscreteScheduler(**CURVE, timestep_spacing="leading", steps_offset=1),
        add_watermarker=False,
    )


def stable_diffusion_3(folder):
    first, second = clip_tokenizer(folder / "clip", "<|endoftext|>"), clip_tokenizer(folder / "clip2", "!")
    third = t5_tokenizer(folder / "t5")
    return StableDiffusion3Pipeline(
        vae=vae(16, use_quant_conv=False, use_post_quant_conv=False, scaling_factor=1.5305, shift_factor=0.0609),
        text_encoder=clip_encoder(first, projection=32),
        text_encoder_2=clip_encoder(second, projection=32),
        text_encoder_3=t5_encoder(third, 64),
        tokenizer=first,
        tokenizer_2=second,
        tokenizer_3=third,
        transformer=SD3Transformer2DModel(
            sample_size=16,
            patch_size=2,
            in_channels=16,
            out_channels=16,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=64,
            caption_projection_dim=16,
            pooled_projection_dim=64,
            pos_embed_max_size=16,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def flux(folder, *, dev=True):
    first, second = clip_tokenizer(folder / "clip", "<|endoftext|>"), t5_tokenizer(folder / "t5")
    return FluxPipeline(
        vae=vae(16, use_quant_conv=False, use_post_quant_conv=False, scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=clip_encoder(first),
        text_encoder_2=t5_encoder(second),
        tokenizer=first,
        tokenizer_2=second,
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            guidance_embeds=dev,
            axes_dims_rope=[4, 4, 8],
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
        if dev
        else FlowMatchEulerDiscreteScheduler(shift=1.0),
    )


def pixart(folder, *, sigma=False):
    tokenizer = t5_tokenizer(folder / "t5")
    return (PixArtSigmaPipeline if sigma else PixArtAlphaPipeline)(
        tokenizer=tokenizer,
        text_encoder=t5_encoder(tokenizer),
        vae=vae(),
        transformer=PixArtTransformer2DModel(
            sample_size=16,
            in_channels=4,
            out_channels=8,
            num_layers=2,
            num_attention_heads=3,
            attention_head_dim=8,
            cross_attention_dim=24,
            caption_channels=32,
            norm_type="ada_norm_single",
        ),
        scheduler=DPMSolverMultistepScheduler(beta_start=1e-4, beta_end=0.02),
    )


def kolors(folder):
    tokenizer = chatglm_tokenizer(folder / "chatglm")
    text_encoder = ChatGLMModel(
        ChatGLMConfig(
            num_layers=2,
            padded_vocab_size=64,
            hidden_size=32,
            ffn_hidden_size=32,
            kv_channels=8,
            num_attention_heads=4,
            multi_query_attention=True,
            multi_query_group_num=2,
            add_qkv_bias=True,
            original_rope=True,
            use_cache=False,
        )
    )
    for parameter in text_encoder.parameters():  # the class leaves them uninitialised
        torch.nn.init.normal_(parameter, std=0.2)
    return KolorsPipeline(
        vae=vae(scaling_factor=0.13025, force_upcast=True),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet(**SDXL, encoder_hid_dim=32, encoder_hid_dim_type="text_proj"),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.014,
            beta_schedule="scaled_linear",
            num_train_timesteps=1100,
            timestep_spacing="leading",
            steps_offset=1,
        ),
    )


def hunyuan_dit(folder):
    """The pipeline assumes that the autoencoder shrinks images 8 times."""
    first, second = clip_tokenizer(folder / "clip", "<|endoftext|>"), t5_tokenizer(folder / "t5")
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    return HunyuanDiTPipeline(
        vae=vae(**blocks, block_out_channels=(4, 4, 4, 8), scaling_factor=0.13025),
        text_encoder=clip_encoder(first),
        tokenizer=first,
        transformer=HunyuanDiT2DModel(
            num_attention_heads=2,
            attention_head_dim=16,
            hidden_size=32,
            in_channels=4,
            patch_size=2,
            num_layers=2,
            sample_size=4,
            cross_attention_dim=32,
            cross_attention_dim_t5=64,
            pooled_projection_dim=16,
        ),
        scheduler=DDPMScheduler(
            beta_start=0.00085,
            beta_end=0.02,
            beta_schedule="scaled_linear",
            prediction_type="v_prediction",
            clip_sample=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        text_encoder_2=t5_encoder(second, 64),
        tokenizer_2=second,
    )


def latent_consistency(folder):
    """A U-Net with embedded guidance, for few steps."""
    pipe = stable_diffusion(folder)
    parts = {**pipe.components, "unet": unet(time_cond_proj_dim=16), "scheduler": LCMScheduler(**CURVE)}
    return StableDiffusionPipeline(**parts, requires_safety_checker=False)


FAMILIES = {
    "lcm": latent_consistency,
    "sd": stable_diffusion,
    "sd-v": lambda folder: stable_diffusion(folder, v=True),
    "sd-tiny-vae": with_tiny_autoencoder,
    "sdxl": stable_diffusion_xl,
    "sd3": stable_diffusion_3,
    "flux-dev": flux,
    "flux-schnell": lambda folder: flux(folder, dev=False),
    "kolors": kolors,
    "hunyuan-dit": hunyuan_dit,
    "pixart-alpha": pixart,
    "pixart-sigma": lambda folder: pixart(folder, sigma=True),
}


def build(name, folder):
    """A pipeline in evaluation mode, whose random weights are the same in every process."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = (FAMILIES.get(name) or LANGUAGE_MODELS[name])(folder)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
