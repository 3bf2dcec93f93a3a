"""Runs one method after another on the same controls."""

from collections.abc import Iterator
from typing import ClassVar

from tta_core.errors import IncompatibleError, InputError
from tta_core.protocols.method import Method, Needs, Snapshot
from tta_core.protocols.variables import Product
from tta_core.solving.problem import Problem
from tta_core.values.typing import evolve, frozen


@frozen
class Sequential:
    """Runs its methods in order; each starts from the last controls of the previous one.

    These controls are also the original ones for the method: a prior of the second method pulls towards the result of the first.
    The result is that of the last method.

    Raises:
        IncompatibleError: two methods require different samplers.
    """

    methods: tuple[Method, ...]

    citation: ClassVar[str] = ""

    def __attrs_post_init__(self) -> None:
        if not self.methods:
            raise InputError("Sequential(()) runs nothing. Give it at least one method.")

    @property
    def needs(self) -> Needs:
        """The needs of all methods together."""
        each = [method.needs for method in self.methods]
        parts = [part for needs in each if needs.variable is not None for part in Product((needs.variable,)).parts]
        variables = tuple({type(part): part for part in parts}.values())
        etas = [needs.eta for needs in each if needs.eta is not None]
        if any(eta != etas[0] for eta in etas):
            raise IncompatibleError(
                f"Cannot use {' then '.join(type(method).__name__ for method in self.methods)}. This is because they need samplers of "
                f"different eta ({', '.join(map(str, etas))}), but one problem has one sampler. Give all of them the same eta."
            )
        return Needs(
            Product(variables) if variables else None,
            gradient=any(needs.gradient for needs in each),
            betas=any(needs.betas for needs in each),
            eta=etas[0] if etas else None,
            stochastic=any(needs.stochastic for needs in each),
            children=any(needs.children for needs in each),
            chain=any(needs.chain for needs in each),
            moves_x=any(needs.moves_x for needs in each),
            moves_x0=any(needs.moves_x0 for needs in each),
            image=any(needs.image for needs in each),
            one_trajectory=len(each) == 1 and each[0].one_trajectory,
            attention=any(needs.attention for needs in each),
        )

    def align(self, problem: Problem) -> Iterator[Snapshot]:
        """Run the methods one after another; each numbers its own snapshots."""
        for method in self.methods:
            problem.check(method.needs)
        controls = problem.controls
        for method in self.methods:
            for snapshot in method.align(evolve(problem, controls=controls)):
                yield snapshot
            controls = snapshot.controls
