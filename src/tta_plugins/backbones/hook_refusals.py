"""The messages for methods that cannot run inside a pipeline's own call."""

MOVES_X = (
    "Cannot use a method that changes x inside a pipeline's own call. This is because the call samples x itself, so that the method's "
    "change would be lost. Use tta_core.align, which has its own loop, or a method that steers an embedding (date, null-tta) or the clean "
    "estimate (mpgd, universal-guidance)."
)
KEPT_NOISE = (
    "Cannot keep the predicted noise with a changed clean estimate inside a pipeline's own call with a sampler of the second order. This "
    "is because such a sampler stores the clean estimate, and would store another one than the method's. Use a sampler of the first "
    "order (DDIM), a setting that recomputes the noise (mpgd's noise='recomputed'), or tta_core.align, which has its own loop."
)
ONE_PASS = (
    "Cannot use a method that samples the chain more than once inside a pipeline's own call. This is because the call samples it once, "
    "and never goes back. Use a method that updates step by step (date, null-tta), or tta_core.align, which has its own loop."
)
PARTICLES = (
    "Cannot use a method with several particles inside a pipeline's own call. This is because the call samples one trajectory of each "
    "prompt. Use particles=1, or tta_core.align, which has its own loop."
)
