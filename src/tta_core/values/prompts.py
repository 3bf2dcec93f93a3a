"""A prompt with facts: a `str` with facts that rewards can read; the image generator reads only the text.

Facts of any name are allowed; four have their own parameter, since several rewards share them.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from tta_core.errors import InputError

if TYPE_CHECKING:
    from typing import Self

Question = tuple[str, str]


class Prompt(str):
    """A text with facts about what the image must show.

    Equality, hash and `repr` are those of the text, so caches by prompt still work; a reward that reads facts must not cache by the text
    alone. Methods of `str`, such as `strip`, return plain texts without facts. Facts that are None are left out.

    Args:
        text: what the image generator reads.
        target: the words that must be readable in the image.
        questions: (question, expected answer) pairs.
        reference: an image to resemble: a path, a PIL image, or a (3, H, W) tensor in [0, 1].
        category: a class to group results by.
        more: facts with other names, for rewards that need them.

    Raises:
        InputError: a text, target, category or question is not a text, or a name in `more` has its own parameter.
    """

    __slots__ = ("_facts",)
    _facts: Mapping[str, object]

    def __new__(
        cls,
        text: str,
        *,
        target: str | None = None,
        questions: Sequence[Sequence[str]] | None = None,
        reference: object = None,
        category: str | None = None,
        more: Mapping[str, object] | None = None,
    ) -> "Self":
        """Check each fact and attach it."""
        more = dict(more or {})
        if wrong := sorted({"text", *_OWN} & more.keys()):
            raise InputError(f"{', '.join(wrong)} in `more` has its own parameter. Write Prompt(text, {wrong[0]}=...).")
        for name, value in (("text", text), ("target", target), ("category", category)):
            if not isinstance(value, str) and not (value is None and name != "text"):
                raise InputError(f"The {name} of a prompt must be a text, but this is {value!r} ({type(value).__name__}). Give a text.")
        given = {"target": target, "questions": _questions(questions), "reference": reference, "category": category, **more}
        made = super().__new__(cls, text)
        made._facts = MappingProxyType({name: value for name, value in given.items() if value is not None})
        return made

    @property
    def facts(self) -> Mapping[str, object]:
        """All facts by name."""
        return self._facts

    def __reduce__(self) -> tuple[object, ...]:
        return with_facts, (str.__str__(self), dict(self._facts))


_OWN = ("target", "questions", "reference", "category")


def facts_of(prompt: str) -> Mapping[str, object]:
    """The facts of a prompt by name; a plain text has none."""
    return prompt.facts if isinstance(prompt, Prompt) else {}


def facts_record(prompts: Iterable[str]) -> list[dict[str, object]]:
    """Each prompt's facts as plain data for JSON; images and other objects are described, not stored."""
    return [{name: _plain(value) for name, value in facts_of(prompt).items()} for prompt in prompts]


def with_facts(text: str, facts: Mapping[str, object]) -> Prompt:
    """A prompt with these facts, given by name."""
    own = {name: value for name, value in facts.items() if name in _OWN}
    return Prompt(text, **own, more={name: value for name, value in facts.items() if name not in own})  # type: ignore[arg-type]


def _questions(questions: Sequence[Sequence[str]] | None) -> tuple[Question, ...] | None:
    if questions is None:
        return None
    pairs = [] if isinstance(questions, str) or not isinstance(questions, Iterable) else list(questions)
    wrong = [pair for pair in pairs if not _is_pair(pair)]
    if not pairs or wrong:
        given = repr(wrong[0] if wrong else questions)
        raise InputError(f'questions must be pairs of texts, such as [("How many dogs?", "two")], but this is {given}.')
    return tuple((question, answer) for question, answer in pairs)


def _is_pair(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(part, str) for part in value)


def _plain(value: object) -> object:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if hasattr(value, "__fspath__"):
        return str(value)
    size = getattr(value, "shape", getattr(value, "size", ""))
    return f"<{type(value).__name__} {tuple(size) if isinstance(size, Sequence) else ''}>".replace(" >", ">")
