"""Memory policies: changes by which a run needs less memory. Each is a frozen value, applied with `memory=`."""

from tta_core.plugins.hookspecs import Register, hookimpl


@hookimpl
def tta_register_memory(register: Register) -> None:
    """Names and one line each; nothing is imported until a name is used."""
    for name, (target, summary) in _ENTRIES.items():
        register(name, f"tta_plugins.memory.{target}", summary)


_ENTRIES = {
    "fp16": ("precision:FP16", "networks in float16, the loss scaled; half the memory"),
    "bf16": ("precision:BF16", "networks in bfloat16; half the memory, no overflow, fewer digits"),
    "checkpointing": ("checkpointing:Checkpointing", "activations recomputed block by block; exact"),
    "frozen-convolutions": (
        "frozen_convolutions:FrozenConvolutions",
        "convolutions do not keep their inputs for the backward pass; exact, no extra work",
    ),
    "segments": ("segments:Segments", "one checkpoint for each step of a differentiated chain (DNO); exact"),
    "chunked": ("chunked:Chunked", "passes a few rows through a network at a time; exact"),
    "vae-slicing": ("chunked:VAESlicing", "one image through the decoder at a time; exact"),
    "offload": ("offload:Offload", "text encoders in host memory except while they encode; exact"),
    "channels-last": ("channels_last:ChannelsLast", "convolutions' weights in channels-last order; exact, faster on tensor cores"),
    "compile": (
        "compiled:Compiled",
        "compiles blocks of denoiser, decoder and reward; exact up to the order of sums",
    ),
    "look-ahead": ("look_ahead_decoder:LookAhead", "a cheaper decoder inside the optimisation; approximate"),
    "frozen-encoder": (
        "frozen_encoder:FrozenEncoder",
        "later updates of a step evaluate the U-Net's up blocks alone; approximate",
    ),
    "update-fraction": ("update_schedule:UpdateFraction", "update at a share of the steps; approximate"),
    "update-window": ("update_schedule:UpdateWindow", "update only in a part of the run; approximate"),
    "auto": ("auto:Auto", "the fastest policies whose prediction fits the device; a size such as 16GB sets the limit"),
    "counted": ("counted:Counted", "counts FLOPs in the ledger; with peak=True also the peak memory on the CPU"),
}
