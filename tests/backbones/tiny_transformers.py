"""Random pipelines of the families whose text encoder is a language model, as small as those of `tiny_pipelines`."""

import diffusers
import torch
from diffusers import AutoencoderDC, AutoencoderKL, AutoencoderKLQwenImage, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import Gemma2Config, Gemma2Model, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM, T5Config, T5EncoderModel

WORDS = ["a", "red", "blue", "circle", "two", "squares", "in", "the", "rain", "dull"]
CHAT = "{% for message in messages %}{{ message.content }}{% endfor %} the"


def tokenizer(folder):
    """A tokenizer of words and letters, with a chat template that adds a word."""
    pieces = ["<pad>", "</s>", "<unk>", *("▁" + word for word in WORDS), "▁", *"abcdefghijklmnopqrstuvwxyz"]
    made = Tokenizer(models.Unigram([(piece, -float(row)) for row, piece in enumerate(pieces)], unk_id=2))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    folder.mkdir()
    made.save(str(folder / "tokenizer.json"))
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "padding_side": "right", "model_max_length": 512}
    special |= {"model_input_names": ["input_ids", "attention_mask"]}
    loaded = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **special)
    loaded.chat_template = CHAT
    return loaded


SMALL = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "max_position_embeddings": 512,
}


def qwen(tokens, layers=2):
    return Qwen3ForCausalLM(Qwen3Config(vocab_size=len(tokens), num_hidden_layers=layers, **SMALL))


def gemma(tokens):
    return Gemma2Model(Gemma2Config(vocab_size=len(tokens), num_hidden_layers=2, query_pre_attn_scalar=16, **SMALL))


def t5(tokens):
    return T5EncoderModel(T5Config(vocab_size=len(tokens), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=2))


BLOCKS = {
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "block_out_channels": (4, 8),
    "norm_num_groups": 2,
    "sample_size": 32,
}


def vae(**options):
    return AutoencoderKL(**BLOCKS, **options, latent_channels=16, use_quant_conv=False, use_post_quant_conv=False)


def flow(**options):
    return FlowMatchEulerDiscreteScheduler(**options)


def qwen_image(folder):
    tokens = tokenizer(folder / "tokens")
    pipe = diffusers.QwenImagePipeline(
        scheduler=flow(use_dynamic_shifting=True, shift_terminal=0.02),
        vae=AutoencoderKLQwenImage(base_dim=4, z_dim=16, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[False]),
        text_encoder=qwen(tokens),
        tokenizer=tokens,
        transformer=diffusers.QwenImageTransformer2DModel(
            patch_size=2,
            in_channels=64,
            out_channels=16,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            axes_dims_rope=(4, 6, 6),
        ),
    )
    pipe.prompt_template_encode, pipe.prompt_template_encode_start_idx = "the {} rain", 1
    return pipe


def z_image(folder):
    tokens = tokenizer(folder / "tokens")
    transformer = diffusers.ZImageTransformer2DModel(
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=32,
        axes_dims=[4, 6, 6],
        axes_lens=[256, 32, 32],
    )
    with torch.no_grad():  # zero at initialisation
        for pad in (transformer.x_pad_token, transformer.cap_pad_token):
            pad.normal_()
    return diffusers.ZImagePipeline(
        scheduler=flow(shift=3.0),
        vae=vae(scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=qwen(tokens),
        tokenizer=tokens,
        transformer=transformer,
    )


class Conversations:
    """The processor of FLUX.2 dev: it turns conversations into tokens."""

    def __init__(self, tokens):
        self.tokens = tokens

    def apply_chat_template(self, conversations, add_generation_prompt, tokenize, **options):
        assert tokenize
        assert not add_generation_prompt
        return self.tokens([messages[-1]["content"][0]["text"] for messages in conversations], **options | {"return_dict": True})


def flux2(folder, *, klein):
    tokens = tokenizer(folder / "tokens")
    parts = {
        "scheduler": flow(use_dynamic_shifting=True),
        "vae": diffusers.AutoencoderKLFlux2(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(4, 8),
            layers_per_block=1,
            norm_num_groups=2,
            latent_channels=4,
            sample_size=32,
        ),
        "text_encoder": qwen(tokens, layers=4),
        "transformer": diffusers.Flux2Transformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=96,
            timestep_guidance_channels=16,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=not klein,
        ),
    }
    with torch.no_grad():
        parts["vae"].bn.running_mean.normal_()
        parts["vae"].bn.running_var.uniform_(0.5, 2.0)
    if klein:
        return diffusers.Flux2KleinPipeline(tokenizer=tokens, **parts)
    return diffusers.Flux2Pipeline(tokenizer=Conversations(tokens), **parts)


def sana(folder):
    tokens = tokenizer(folder / "tokens")
    return diffusers.SanaPipeline(
        tokenizer=tokens,
        text_encoder=gemma(tokens),
        vae=AutoencoderDC(
            latent_channels=4,
            attention_head_dim=2,
            encoder_block_out_channels=(4, 8),
            decoder_block_out_channels=(4, 8),
            encoder_layers_per_block=(1, 1),
            decoder_layers_per_block=(1, 1),
            encoder_qkv_multiscales=((), ()),
            decoder_qkv_multiscales=((), ()),
            encoder_block_types="ResBlock",
            decoder_block_types="ResBlock",
            scaling_factor=0.41407,
        ),
        transformer=diffusers.SanaTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=8,
            num_layers=2,
            num_cross_attention_heads=2,
            cross_attention_head_dim=8,
            cross_attention_dim=16,
            caption_channels=32,
            sample_size=16,
        ),
        scheduler=DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0),
    )


def lumina2(folder):
    tokens = tokenizer(folder / "tokens")
    pipe = diffusers.Lumina2Pipeline(
        transformer=diffusers.Lumina2Transformer2DModel(
            sample_size=16,
            hidden_size=32,
            num_layers=2,
            num_refiner_layers=1,
            num_attention_heads=2,
            num_kv_heads=1,
            multiple_of=16,
            axes_dim_rope=(4, 6, 6),
            axes_lens=(256, 32, 32),
            cap_feat_dim=32,
        ),
        scheduler=flow(use_dynamic_shifting=True),
        vae=vae(scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=gemma(tokens),
        tokenizer=tokens,
    )
    pipe.vae_scale_factor, pipe.system_prompt = 2, "the"  # the pipeline's own values are 8 and a long text
    return pipe


def auraflow(folder):
    tokens = tokenizer(folder / "tokens")
    pipe = diffusers.AuraFlowPipeline(
        tokenizer=tokens,
        text_encoder=t5(tokens),
        vae=diffusers.AutoencoderKL(**BLOCKS, latent_channels=4, scaling_factor=0.13025),
        transformer=diffusers.AuraFlowTransformer2DModel(
            sample_size=16,
            patch_size=2,
            in_channels=4,
            num_mmdit_layers=1,
            num_single_dit_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=32,
            caption_projection_dim=16,
            out_channels=4,
            pos_embed_max_size=64,
        ),
        scheduler=flow(shift=1.73),
    )
    with torch.no_grad():  # so that the text has an effect
        for parameter in pipe.transformer.joint_transformer_blocks.parameters():
            parameter.mul_(3)
    return pipe


def chroma(folder):
    tokens = tokenizer(folder / "tokens")
    return diffusers.ChromaPipeline(
        tokenizer=tokens,
        text_encoder=t5(tokens),
        vae=vae(scaling_factor=0.3611, shift_factor=0.1159),
        transformer=diffusers.ChromaTransformer2DModel(
            patch_size=1,
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            axes_dims_rope=(4, 4, 8),
            approximator_num_channels=8,
            approximator_hidden_dim=16,
            approximator_layers=1,
        ),
        scheduler=flow(use_dynamic_shifting=True),
    )


FAMILIES = {
    "auraflow": auraflow,
    "chroma": chroma,
    "qwen-image": qwen_image,
    "z-image": z_image,
    "flux2-dev": lambda folder: flux2(folder, klein=False),
    "flux2-klein": lambda folder: flux2(folder, klein=True),
    "sana": sana,
    "lumina2": lumina2,
}
