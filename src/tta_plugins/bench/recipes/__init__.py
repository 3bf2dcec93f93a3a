"""Comparisons to start from: toml files in this folder, each with its title in the first line."""

from pathlib import Path

from tta_core.errors import InputError, UnknownNameError
from tta_core.plugins.registry import nearest

HERE = Path(__file__).parent


def recipes() -> dict[str, str]:
    """The recipes' titles, by name."""
    return {path.stem: path.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ") for path in sorted(HERE.glob("*.toml"))}


def write_recipe(name: str, out: Path) -> Path:
    """Write a recipe to a new file. Raises `UnknownNameError` for an unknown recipe, `InputError` if the file cannot be written."""
    known = recipes()
    if name not in known:
        raise UnknownNameError(f"No recipe is called {name!r}. {nearest(name, list(known))} `tta bench init` lists them all.")
    if out.exists():
        raise InputError(f"{out} exists already and is not overwritten. Give another file with --out.")
    try:
        out.write_text((HERE / f"{name}.toml").read_text(encoding="utf-8"), encoding="utf-8")
    except OSError as error:
        raise InputError(f"Cannot write {out}: {error.strerror or error}. Give another file with --out.") from error
    return out
