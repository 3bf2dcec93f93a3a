"""The released procedures of Null-TTA, DATE and DNO: their network evaluations, and the arithmetic between them.

Each evaluation has the rows and the graph of the authors' code: guidance branches are one batch of two, Null-TTA evaluates both branches in
every inner step, and DNO decodes an unused image at every step and recomputes each step. Guidance, the step of DDIM, penalties, the
gradient's norm, the optimiser's step and new noises are computed once each, with coefficients as Python numbers. Left out are the scheduler
objects of diffusers, which do the same arithmetic in more operations, DNO's regulariser, logging and progress bars. So this is faster
than the released codes. DATE's result is scored here; the authors score it in another program. The file was written from the papers'
equations and the counts of evaluations in those codes, and not copied from them.
"""

import math
from functools import cached_property

import attrs
import torch
from torch.nn.utils import clip_grad_norm_
from torch.utils.checkpoint import checkpoint

GUIDANCE = 7.5
RHO = 0.5  # DATE's length of a step
REWARD, PENALTY, VARIANCE = 100.0, 0.002, 0.01  # Null-TTA's weights, and the variance of its prior


@attrs.frozen
class Row:
    """A step of DDIM from x = a x0 + s eps; `std` is that of eta 1."""

    time: int
    a: float
    s: float
    a_next: float
    s_next: float
    std: float

    def clean(self, x, output):
        return (x - self.s * output) / self.a

    def next(self, x0, output):
        """With eta 0."""
        return self.a_next * x0 + self.s_next * output

    def sample(self, x0, output, noise):
        """With eta 1."""
        return self.a_next * x0 + math.sqrt(self.s_next**2 - self.std**2) * output + self.std * noise


def table(steps):
    """DDIM on the betas of Stable Diffusion; the last step ends at the first training time, as with `set_alpha_to_one=False`."""
    shares = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0).tolist()
    times = [step * (1000 // steps) + 1 for step in reversed(range(steps))]
    rows = []
    for time, after in zip(times, [*times[1:], 0], strict=True):
        (a, s), (a_next, s_next) = ((math.sqrt(share), math.sqrt(1 - share)) for share in (shares[time], shares[after]))
        rows.append(Row(time, a, s, a_next, s_next, s_next * math.sqrt(1 - (a * s_next / (a_next * s)) ** 2)))
    return rows


@attrs.frozen(eq=False)
class Released:
    """The authors' loops, on a Stable Diffusion denoiser and decoder and a reward of images and prompts."""

    unet: object
    vae: object
    reward: object

    @cached_property
    def dtypes(self):
        """Of the denoiser and of the decoder; read once, since diffusers looks through all modules for them."""
        return self.unet.dtype, self.vae.dtype

    def denoise(self, x, row, embedding):
        dtype = self.dtypes[0]
        return self.unet(x.to(dtype), row.time, encoder_hidden_states=embedding.to(dtype), return_dict=False)[0].float()

    def decode(self, x):
        return self.vae.decode(x.to(self.dtypes[1]) / self.vae.config.scaling_factor, return_dict=False)[0].float()

    def look(self, x, clamp=True):
        images = self.decode(x) / 2 + 0.5
        return self.reward(images.clamp(0, 1) if clamp else images, ["a"] * x.shape[0])

    def branches(self, x, row, null, text):
        """The outputs of both branches, from one batch; x may have more rows than the embeddings."""
        copies = x.shape[0] // text.shape[0]
        both = torch.cat([null.repeat(copies, 1, 1), text.repeat(copies, 1, 1)])
        return self.denoise(torch.cat([x, x]), row, both).chunk(2)

    def guided(self, x, row, null, text):
        e_null, e_text = self.branches(x, row, null, text)
        return e_null + GUIDANCE * (e_text - e_null)

    def best(self, x, scores, samples):
        """The best of each sample's copies."""
        winners = scores.view(-1, samples).argmax(0) * samples + torch.arange(samples, device=x.device)
        return x[winners]

    def null_tta(self, x, text, null, inner, particles):
        """`inner`: the inner steps of each time step. All random numbers are new ones."""
        rows, samples, phi = table(len(inner)), x.shape[0], null

        def chosen(x, row):
            with torch.no_grad():
                return self.best(x, self.look(row.clean(x, self.guided(x, row, phi, text))), samples)

        x = chosen(torch.cat([x, *(torch.randn_like(x) for _ in range(particles - 1))]), rows[0])
        for step, (row, count) in enumerate(zip(rows, inner, strict=True)):
            with torch.no_grad():
                reference, _ = self.branches(x, row, null, text)
            leaf = phi.clone().requires_grad_()
            optimizer = torch.optim.Adam([leaf], lr=1e-2)
            for _ in range(count):
                e_null, e_text = self.branches(x, row, leaf, text)
                scores = self.look(row.clean(x, e_null + GUIDANCE * (e_text - e_null)))
                divergence = GUIDANCE**2 * (e_null - reference).square().sum() / (2 * row.s**2)
                prior = (leaf - null).square().sum() / (2 * VARIANCE)
                (leaf.grad,) = torch.autograd.grad(PENALTY * (divergence + prior) - REWARD * scores.sum(), leaf)
                optimizer.step()
            phi = leaf.detach()
            with torch.no_grad():
                output = self.guided(x, row, phi, text)
                x0 = row.clean(x, output)
                x = torch.cat([row.sample(x0, output, torch.randn_like(x)) for _ in range(particles)])
            if step + 1 < len(inner):
                x = chosen(x, rows[step + 1])
        with torch.no_grad():
            self.decode(self.best(x, self.look(x), samples))

    def date(self, x, text, null, steps, every):
        """An update at every `every`-th step."""
        for step, row in enumerate(table(steps)):
            if step % every == 0:
                leaf = text.clone().requires_grad_()
                with torch.no_grad():
                    e_null = self.denoise(x, row, null)
                output = e_null + GUIDANCE * (self.denoise(x, row, leaf) - e_null)
                (gradient,) = torch.autograd.grad(self.look(row.clean(x, output), clamp=False).sum(), leaf)
                text = text + RHO * gradient / gradient.flatten(1).norm(dim=1)[:, None, None]
                with torch.no_grad():
                    output = e_null + GUIDANCE * (self.denoise(x, row, text) - e_null)
            else:
                with torch.no_grad():
                    output = self.guided(x, row, null, text)
            x = row.next(row.clean(x, output), output)
        with torch.no_grad():
            self.look(x, clamp=False)

    def dno(self, x, text, null, steps, iterations):
        """One checkpoint a step."""
        rows = table(steps)
        noises = torch.stack([x, *(torch.randn_like(x) for _ in rows)]).requires_grad_()
        optimizer = torch.optim.AdamW([noises], lr=0.01)

        def moved(x, row, noise):
            output = self.guided(x, row, null, text)
            return row.sample(row.clean(x, output), output, noise)

        for _ in range(iterations):
            state = noises[0]
            for step, row in enumerate(rows):
                state = checkpoint(moved, state, row, noises[step + 1], use_reentrant=False)
                with torch.no_grad():
                    self.decode(state)
            (noises.grad,) = torch.autograd.grad(-self.look(state).sum(), noises)
            clip_grad_norm_([noises], 1.0)
            optimizer.step()
