"""Reads values from the command line: Python literals, bare words, and constructors as a `repr` shows them.

Examples are `Fraction(0.1) * Window(0.5, 1)` and `NullEmbedding() & TextEmbedding()`; the settings in a run's record can be typed as they
are printed. Only literals, signs, the listed classes and the two operators that compose them are evaluated.
"""

import ast
import inspect
import operator
from collections.abc import Mapping

from tta_core.errors import InputError, TTAError
from tta_plugins.cli.suggestions import one_of

_WORDS: dict[str, object] = {"true": True, "false": False, "none": None, "inf": float("inf"), "True": True, "False": False, "None": None}
_LITERALS = (str, bytes, int, float, complex, tuple, list, dict, set, type(None))
_COMPOSE = {ast.Mult: operator.mul, ast.BitAnd: operator.and_}


def value_of(text: str, classes: Mapping[str, type]) -> object:
    """The value of a text. A bare word is a string."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # all errors of Python's parser
        return text
    return _value(tree, classes) if _constructs(tree) else _literal(tree, text)


def _constructs(tree: ast.AST) -> bool:
    return any(isinstance(node, ast.Call) for node in ast.walk(tree))


def _literal(tree: ast.expr, text: str) -> object:
    if isinstance(tree, ast.Name):
        return _WORDS.get(tree.id, text)
    try:
        return ast.literal_eval(tree)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return text


def _value(node: ast.expr, classes: Mapping[str, type]) -> object:
    match node:
        case ast.Call(func=ast.Name(id=name)):
            cls = classes[one_of(name, classes, "value that can be given here")]
            positional = [_value(argument, classes) for argument in node.args]
            named = {keyword.arg: _value(keyword.value, classes) for keyword in node.keywords if keyword.arg}
            return _made(cls, positional, named)
        case ast.BinOp(op=ast.Mult() | ast.BitAnd()):
            left, right = _value(node.left, classes), _value(node.right, classes)
            return _composed(node.op, left, right)
        case ast.Tuple():
            return tuple(_value(item, classes) for item in node.elts)
        case ast.List():
            return [_value(item, classes) for item in node.elts]
        case _:
            return _literal(node, ast.unparse(node))


def _made(cls: type, positional: list[object], named: dict[str, object]) -> object:
    try:
        return cls(*positional, **named)
    except TTAError:
        raise
    except Exception as error:
        given = ", ".join([*map(repr, positional), *(f"{name}={value!r}" for name, value in named.items())])
        taken = inspect.signature(cls).replace(return_annotation=inspect.Signature.empty)
        reason = "" if isinstance(error, TypeError) else f": {error}"
        raise InputError(f"{cls.__name__}({given}) cannot be built{reason}: its arguments are {taken}.") from error


def _composed(op: ast.operator, left: object, right: object) -> object:
    try:
        if isinstance(left, _LITERALS) or isinstance(right, _LITERALS):
            raise TypeError("'a' * 10**10 would be a text of that length")
        return _COMPOSE[type(op)](left, right)
    except TTAError:
        raise
    except Exception as error:
        raise InputError(f"{left!r} and {right!r} cannot be composed. Multiply schedules with *, and join variables with &.") from error
