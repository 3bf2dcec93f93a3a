"""Each law of variables fails for a variable that is made to break it."""

import attrs
import pytest
import torch
from breaking import assert_caught, laws_of

from tta_core import NullEmbedding, TextEmbedding
from tta_core.testing import VariableSuite


class Variable:
    """Steers the text tokens; each subclass breaks one law."""

    needs_null = False

    def read(self, controls):
        return (controls.text.tokens,)

    def write(self, controls, value):
        return TextEmbedding().write(controls, value)


class Halved(Variable):
    def write(self, controls, value):
        return super().write(controls, (value[0] / 2,))


class Accumulating(Variable):
    def write(self, controls, value):
        return super().write(controls, (controls.text.tokens + value[0],))


class Copying(Variable):
    def write(self, controls, value):
        return attrs.evolve(super().write(controls, value), noise=controls.noise.clone())


class InPlace(Variable):
    def write(self, controls, value):
        controls.text.tokens.copy_(value[0])
        return controls


class StepsFirst(Variable):
    def read(self, controls):
        return (controls.noise,)

    def write(self, controls, value):
        return attrs.evolve(controls, noise=value[0])


class Cut(Variable):
    def write(self, controls, value):
        return super().write(controls, (value[0].detach(),))


class Restless(Variable):
    def read(self, controls):
        return (controls.text.tokens + torch.rand(()),)


class Pretending(Variable):
    needs_null = True


class Peeking(Variable):
    def read(self, controls):
        return (controls.text.tokens + controls.noise.mean(),)


BROKEN = {
    "test_reading_what_was_written_gives_it": Halved(),
    "test_writing_what_was_read_changes_nothing": Accumulating(),
    "test_the_second_of_two_writes_wins": Accumulating(),
    "test_what_is_not_steered_stays_the_same_object": Copying(),
    "test_a_write_leaves_the_old_controls_alone": InPlace(),
    "test_rows_are_samples": StepsFirst(),
    "test_gradients_reach_the_leaves": Cut(),
    "test_a_product_reads_its_parts_in_order": Restless(),
    "test_needs_null_is_declared_correctly": Pretending(),
    "test_a_read_is_not_a_copy_of_the_whole": Peeking(),
}


@pytest.mark.parametrize("law", laws_of(VariableSuite))
def test_the_law_catches(law):
    assert_caught(VariableSuite, law, {"variable": BROKEN[law]}, attributes={})


def test_a_wrong_declaration_is_detected():
    law = "test_what_is_not_steered_stays_the_same_object"
    assert_caught(VariableSuite, law, {"variable": NullEmbedding()}, attributes={"steers": frozenset({"text"})})
