"""The methods. Each is one file that reads from top to bottom, like the algorithm in its paper."""

from tta_core.plugins.hookspecs import Register, hookimpl


@hookimpl
def tta_register_methods(register: Register) -> None:
    """The published methods and the baselines of their tables."""
    here = "tta_plugins.methods"
    register("fixed", f"{here}.baselines:Fixed", "plain sampling, no update")
    register("random-direction", f"{here}.baselines:RandomDirection", "DATE's steps along random directions")
    register("best-of-n", f"{here}.baselines:BestOfN", "the best of n plain samples")
    register("null-tta", f"{here}.null_tta:NullTTA", "steers the null embedding under a KL penalty, with particles")
    register("null-tta.fast", f"{here}.null_tta:NullTTA.fast", "null-tta with three longer inner steps instead of 5 to 25")
    register("dno", f"{here}.dno:DNO", "steers the injected noise of the whole chain")
    register("dno.fast", f"{here}.dno:DNO.fast", "dno with five longer updates instead of 100")
    register("date", f"{here}.date:DATE", "steers the text embedding along the reward's gradient")
    register("date.fast", f"{here}.date:DATE.fast", "date with half the updates")
    register("universal-guidance", f"{here}.universal_guidance:UniversalGuidance", "moves the clean estimate along the reward's gradient")
    register("freedom", f"{here}.freedom:FreeDoM", "moves the next x along the reward's gradient, with time travel")
    register("dps", f"{here}.dps:DPS", "moves the next x along the gradient of a residual's norm")
    register("lgd", f"{here}.lgd:LGD", "moves the next x along the gradient of a Monte Carlo expectation of exp(reward)")
    register("mpgd", f"{here}.mpgd:MPGD", "moves the clean estimate without differentiating the denoiser")
    register("tfg", f"{here}.tfg:TFG", "moves x and the clean estimate along a smoothed reward, with recurrence")
    register("ebca", f"{here}.ebca:EBCA", "cross-attention layers change the text's context; no reward")
    register("das", f"{here}.das:DAS", "sequential Monte Carlo whose proposal follows the reward's gradient")
    register("fk", f"{here}.fk:FK", "particles weighted by the rewards of their look-aheads, resampled at intervals")
    register("svdd", f"{here}.svdd:SVDD", "samples the next x among children by the reward of their look-aheads")
    register("rbf", f"{here}.rbf:RBF", "chains that go to the next step when a child is better, and keep the budget that is left")
    register("reno", f"{here}.reno:ReNO", "steers x_T of a few-step model, with a penalty on its norm")
    register("noise-search", f"{here}.noise_search:NoiseSearch", "searches x_T without gradient: at random or around the best")
    register("path-search", f"{here}.path_search:PathSearch", "goes back and forth along the best of several paths")
