"""The lengths of the training stages: the full training (two CPU cores, under two hours) and a smoke test (half a minute)."""

from attrs import frozen

from tta_plugins.shapes.stages.loop import Plan


@frozen
class Plans:
    """The plan of each stage. `pool` is a number of images."""

    vae: Plan
    polish: Plan
    pool: int
    text: Plan
    unet: Plan
    clip: Plan
    judge: Plan


FULL = Plans(
    vae=Plan(steps=3600, batch=16, rate=2e-3, average=0.995),
    polish=Plan(steps=4400, batch=16, rate=1e-3, average=0.995),
    pool=64_000,
    text=Plan(steps=400, batch=128, rate=1e-3, average=0.98),
    unet=Plan(steps=8600, batch=64, rate=1.5e-3, warmup=200, keep=True),
    clip=Plan(steps=5000, batch=64, rate=1e-3, warmup=300, keep=True),
    judge=Plan(steps=1500, batch=64, rate=2e-3, average=0.99),
)
SMOKE = Plans(
    vae=Plan(steps=12, batch=8, rate=2e-3),
    polish=Plan(steps=4, batch=8, rate=1e-3),
    pool=64,
    text=Plan(steps=8, batch=32, rate=1e-3),
    unet=Plan(steps=8, batch=8, rate=1.5e-3),
    clip=Plan(steps=8, batch=16, rate=1e-3),
    judge=Plan(steps=8, batch=16, rate=2e-3),
)
