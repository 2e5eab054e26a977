"""Finds config files by path or name, and runs them."""

import ast
import contextlib
import importlib
import inspect
import os
import runpy
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from ml_collections import ConfigDict

from jaxcnn.errors import UserError, suggestion

Answer = TypeVar("Answer")

_PACKAGE = Path(__file__).parents[1]


def shipped_configs() -> dict[str, Path]:
    """The config files shipped with the package, by name, such as 'digits_lenet'."""
    # In a wheel they are inside the package; in a checkout, next to it.
    folders = (_PACKAGE / "configs", _PACKAGE.parent / "configs")
    folder = next((folder for folder in folders if folder.is_dir()), folders[0])
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.rglob("*.py"))
    }


def summary_of(path: Path) -> str:
    """The first line of a config file's docstring; the file is not run."""
    docstring = ast.get_docstring(ast.parse(path.read_bytes())) or ""
    return docstring.partition("\n")[0]


def load_config_file(path: str | Path) -> ConfigDict:
    """Runs a config file and returns what its `get_config` returns.

    Args:
      path: a file's path, or a shipped config's name; a ':TEXT' suffix is passed to `get_config`.

    Raises:
      UserError: the file is missing, fails, or has no `get_config`.
    """
    return run_config_file(path, "get_config", ConfigDict)


def run_config_file(path: str | Path, function: str, answers: type[Answer]) -> Answer:
    """Runs a file and returns what its function of that name returns.

    Args:
      path: a file's path, or a shipped config's name; a ':TEXT' suffix is passed to the function.
      answers: the type that the function must return.

    Raises:
      UserError: the file is missing or fails, or the function is missing or returns another type.
    """
    path, argument = _located(str(path))
    try:
        with _importing_neighbours(path.resolve().parent):
            defined = runpy.run_path(str(path))
            if function not in defined:
                others = " but get_comparison(), for a sweep" if "get_comparison" in defined else ""
                raise UserError(f"config={path}: it defines no {function}(){others}")
            answer = defined[function](*_arguments(defined[function], path, argument))
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        line = getattr(error, "lineno", None) or (frames[-1].lineno if frames else "?")
        reason = " ".join(str(error).split())
        raise UserError(f"{path}, line {line}: {type(error).__name__}: {reason}") from error
    if not isinstance(answer, answers):
        raise UserError(
            f"{path}: {function}() returns {type(answer).__name__}, not a {answers.__name__}"
        )
    return answer


@contextlib.contextmanager
def _importing_neighbours(folder: Path) -> Iterator[None]:
    """Within this context, `import base` finds the folder's base.py, as in a script run from there.

    On exit the folder's modules are unloaded: the next config's folder may have a different base.py.
    """
    if str(folder) in map(os.path.abspath, sys.path):
        yield
        return
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and folder in Path(file).parents:
                del sys.modules[name]


def _located(text: str) -> tuple[Path, str | None]:
    """The file for a path or name, and the text after the colon."""
    colons = [i for i, letter in enumerate(text) if letter == ":"]
    shipped = shipped_configs()
    for name, argument in ((text, None), *((text[:i], text[i + 1 :]) for i in colons)):
        path = Path(name)
        if name and path.is_file():
            return path, argument
        if name in shipped:
            return shipped[name], argument
    name, colon, _ = text.partition(".py:")
    path = Path(f"{name}.py" if colon else text)
    here = [str(p) for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
    raise UserError(
        f"config={path}: there is no such file; {suggestion(str(path), {*here, *shipped})}, or the "
        "path of another file"
    )


def _arguments(function: Callable, path: Path, argument: str | None) -> tuple[str, ...]:
    """The arguments for the file's function."""
    signature, name = inspect.signature(function), function.__name__

    def takes(*arguments: str) -> bool:
        try:
            signature.bind(*arguments)
        except TypeError:
            return False
        return True

    given = () if argument is None else (argument,)
    if takes(*given):
        return given
    if argument is None and takes("TEXT"):
        raise UserError(f"config={path}: its {name} takes an argument; give it as {path}:TEXT")
    if argument is not None and takes():
        raise UserError(f"config={path}:{argument}: its {name} takes no argument")
    raise UserError(f"config={path}: its {name}{signature} must take no argument, or one string")
