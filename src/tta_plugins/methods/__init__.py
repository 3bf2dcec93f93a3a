"""The methods: each one file, read from top to bottom like the algorithm box of its paper."""

from tta_core.plugins.hookspecs import Register, hookimpl


@hookimpl
def tta_register_methods(register: Register) -> None:
    """The published methods and the baselines of their tables."""
    here = "tta_plugins.methods"
    register("fixed", f"{here}.baselines:Fixed", "plain sampling, no update")
    register("random-direction", f"{here}.baselines:RandomDirection", "DATE's steps along random directions")
    register("best-of-n", f"{here}.baselines:BestOfN", "the best of n plain samples")
    register("null-tta", f"{here}.null_tta:NullTTA", "steers the null embedding under a KL penalty, with particles")
    register("dno", f"{here}.dno:DNO", "steers the injected noise of the whole chain")
    register("date", f"{here}.date:DATE", "steers the text embedding along the reward's gradient")
