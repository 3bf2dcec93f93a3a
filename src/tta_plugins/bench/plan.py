"""The plan: arms, prompts and cells, saved in `plan.json` before the first sample. A later edit of the toml does not change it."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from tta_core.errors import InputError, LoadError
from tta_core.running.folder import writable
from tta_core.values.prompts import Prompt, with_facts
from tta_plugins.bench.files import object_of, save
from tta_plugins.bench.prompt_files import PromptSet, read_choice
from tta_plugins.bench.spec import Arm, Spec, read_spec, spec_of

FORMAT = 1


@attrs.frozen(order=True)
class Cell:
    """One image of one arm: the prompt's index in the plan, and the seed; in the pool, the sample's number."""

    prompt: int
    seed: int

    @property
    def name(self) -> str:
        """The name of its files."""
        return f"{self.prompt:05d}-{self.seed}"


@attrs.frozen
class Unit:
    """Cells of one arm that are sampled as one batch. They are always the same, so that a resumed run computes the same numbers."""

    arm: str
    cells: tuple[Cell, ...]


@attrs.frozen
class Plan:
    """A comparison with its prompts read."""

    spec: Spec
    prompts: tuple[Prompt, ...]
    record: Mapping[str, object]

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Every arm, the controls first."""
        pool = Arm("pool", "fixed", family="best of n")
        return (Arm("fixed", "fixed"), Arm("random-direction", "random-direction"), *self.spec.arms, pool)

    def arm(self, name: str) -> Arm:
        """The arm with that name. Raises `InputError` if the plan has none."""
        arm = next((arm for arm in self.arms if arm.name == name), None)
        if arm is None:
            raise InputError(f"No arm is called {name!r}. The plan has {', '.join(arm.name for arm in self.arms)}.")
        return arm

    def target(self, arm: Arm) -> str:
        """The reward that an arm optimises."""
        return arm.target or self.spec.target

    @property
    def rewards(self) -> tuple[str, ...]:
        """Every reward that scores the images: the targets, then those held out."""
        named = [self.spec.target, *map(self.target, self.spec.arms), *self.spec.held_out, *filter(None, [self.spec.primary])]
        return tuple(dict.fromkeys(named))

    @property
    def primary(self) -> str:
        """The score that the verdicts are based on."""
        return self.spec.primary or self.spec.target

    def cells(self, arm: Arm) -> Iterator[Cell]:
        """The cells of one arm."""
        seeds = range(self.spec.pool) if arm.name == "pool" else self.spec.seeds
        return (Cell(prompt, seed) for prompt in range(len(self.prompts)) for seed in seeds)

    def units(self) -> Iterator[Unit]:
        """All units: every arm of a block of prompts before the next block, so that a run that stops early compares the same prompts."""
        size = self.spec.batch
        for start in range(0, len(self.prompts), size):
            block = range(start, min(start + size, len(self.prompts)))
            for arm in self.arms:
                seeds = range(self.spec.pool) if arm.name == "pool" else self.spec.seeds
                for seed in seeds:
                    yield Unit(arm.name, tuple(Cell(prompt, seed) for prompt in block))

    def noise_seed(self, cell: Cell) -> int:
        """The seed of a cell's noise. It depends on the prompt too: with the same noise, scores of different prompts would correlate."""
        return int.from_bytes(hashlib.blake2b(repr((str(self.prompts[cell.prompt]), cell.seed)).encode(), digest_size=6).digest(), "big")

    @property
    def digest(self) -> str:
        """SHA-256 of everything that the plan fixes."""
        return hashlib.sha256(json.dumps(_plain(self), sort_keys=True).encode()).hexdigest()


def slug(name: str) -> str:
    """A name as a folder's name. A digest is added where the spelling changes, so that different names stay different."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def resolve_plan(path: Path) -> Plan:
    """The plan of a `bench.toml`, its prompts read."""
    spec = read_spec(path)
    return plan_of(spec, read_choice(spec.prompts, path.parent))


def plan_of(spec: Spec, prompts: PromptSet) -> Plan:
    """The plan of a comparison and its prompts."""
    return Plan(spec, prompts.prompts, prompts.record)


def settle(plan: Plan, folder: Path) -> None:
    """Write the plan into an empty folder, or check that the folder holds the same plan.

    Raises:
        InputError: the folder holds another plan, or something that is not a comparison.
    """
    path = writable(folder) / "plan.json"
    if path.is_file():
        if read_plan(folder).digest != plan.digest:
            raise InputError(
                f"{folder} holds another plan: the toml, its prompts or their order have changed since. Run `tta bench run --out {folder}` "
                "without a toml to continue the plan in the folder, or give another folder with --out."
            )
        return
    if any(folder.iterdir()):
        raise InputError(f"{folder} holds something that is not a comparison. Give an empty folder, or one that does not exist yet.")
    save(path, (json.dumps({"digest": plan.digest, **_plain(plan)}, indent=1) + "\n").encode())


def read_plan(folder: Path) -> Plan:
    """The plan of a folder. Raises `LoadError` if there is none, or if it was edited."""
    path = folder / "plan.json"
    try:
        written = object_of(path, "")
        if written["format"] != FORMAT:
            raise ValueError(f"it has format {written['format']}, and this version reads {FORMAT}")
        prompts = tuple(with_facts(row["text"], row["facts"]) for row in written["prompts"])
        plan = Plan(spec_of(written["spec"], str(path)), prompts, written["record"])
    except (LoadError, ValueError, KeyError, TypeError) as error:
        raise LoadError(
            f"{folder} holds no comparison: {str(error).rstrip(' .')}. Start one with `tta bench run bench.toml --out {folder}`."
        ) from error
    if plan.digest != written["digest"]:
        raise LoadError(f"{path} was edited: its contents do not match its digest. Start another run from the toml, in another folder.")
    return plan


def _plain(plan: Plan) -> dict[str, Any]:
    prompts = [{"text": str(prompt), "facts": dict(prompt.facts)} for prompt in plan.prompts]
    return {"format": FORMAT, "spec": json.loads(json.dumps(attrs.asdict(plan.spec))), "record": dict(plan.record), "prompts": prompts}
