"""Replaces an attribute of an object during a run."""

from contextlib import ExitStack


def replace(undo: ExitStack, owner: object, name: str, value: object) -> None:
    """Set an instance attribute; `undo` restores the old value, or removes the attribute if only the class had one."""
    if name in vars(owner):
        undo.callback(setattr, owner, name, vars(owner)[name])
    else:
        undo.callback(delattr, owner, name)
    setattr(owner, name, value)
