"""The network evaluations of the released codes of Null-TTA, DATE and DNO.

Each evaluation has the rows and the graph of the authors' code: guidance branches are one batch of two, Null-TTA evaluates both branches in
every inner step, and DNO decodes an unused image at every step and recomputes each step. The arithmetic between evaluations is left out, so
this is faster than the released codes. It was written from the counts of evaluations in those codes, and not copied from them.
"""

from functools import cached_property

import attrs
import torch
from torch.utils.checkpoint import checkpoint


@attrs.frozen(eq=False)
class Released:
    """The evaluations of the authors' loops, with a Stable Diffusion denoiser and decoder and a reward of images and prompts."""

    unet: object
    vae: object
    reward: object

    @cached_property
    def dtypes(self):
        """The dtypes of the denoiser and of the decoder. They are read once, since diffusers searches all modules for them."""
        return self.unet.dtype, self.vae.dtype

    def denoise(self, x, embedding):
        dtype = self.dtypes[0]
        return self.unet(x.to(dtype), 500, encoder_hidden_states=embedding.to(dtype), return_dict=False)[0].float()

    def decode(self, x):
        return self.vae.decode(x.to(self.dtypes[1]) / self.vae.config.scaling_factor, return_dict=False)[0].float()

    def look(self, x):
        return self.reward((self.decode(x) / 2 + 0.5).clamp(0, 1), ["a"] * x.shape[0])

    def null_tta(self, x, text, null, inner, particles):
        """Null-TTA; `inner` has the number of inner steps of each step."""

        def guided(x, null, copies=1):
            both = torch.cat([null.repeat(copies, 1, 1), text.repeat(copies, 1, 1)])
            return self.denoise(torch.cat([x, x]).repeat(copies, 1, 1, 1), both).chunk(2)[0]

        with torch.no_grad():
            self.look(guided(x, null, particles))
        for step, count in enumerate(inner):
            with torch.no_grad():
                guided(x, null)
                guided(x, null)
            for _ in range(count):
                leaf = null.clone().requires_grad_()
                torch.autograd.grad(self.look(guided(x, leaf)).sum(), leaf)
            if step + 1 < len(inner):
                with torch.no_grad():
                    self.look(guided(x, null, particles))
        with torch.no_grad():
            self.look(x.repeat(particles, 1, 1, 1))
            self.decode(x)

    def date(self, x, text, null, steps, every):
        """DATE with an update at every `every`-th step."""
        for step in range(steps):
            if step % every == 0:
                leaf = text.clone().requires_grad_()
                with torch.no_grad():
                    self.denoise(x, null)
                torch.autograd.grad(self.look(self.denoise(x, leaf)).sum(), leaf)
                with torch.no_grad():
                    self.denoise(x, text)
            else:
                with torch.no_grad():
                    self.denoise(torch.cat([x, x]), torch.cat([null, text]))
        with torch.no_grad():
            self.decode(x)

    def dno(self, x, text, null, steps, iterations):
        """DNO with one checkpoint per step."""

        def moved(x):
            return self.denoise(torch.cat([x, x]), both).chunk(2)[0] + x

        both = torch.cat([null, text])
        for _ in range(iterations):
            leaf = state = x.clone().requires_grad_()
            for _ in range(steps):
                state = checkpoint(moved, state, use_reentrant=False)
                with torch.no_grad():
                    self.decode(state)
            torch.autograd.grad(self.look(state).sum(), leaf)
