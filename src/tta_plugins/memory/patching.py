"""An attribute of someone else's object, replaced for the length of a run."""

from contextlib import ExitStack


def replace(undo: ExitStack, owner: object, name: str, value: object) -> None:
    """Set an instance attribute; `undo` puts back what was there, or removes it where only the class had one."""
    if name in vars(owner):
        undo.callback(setattr, owner, name, vars(owner)[name])
    else:
        undo.callback(delattr, owner, name)
    setattr(owner, name, value)
