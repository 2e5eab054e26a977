"""Where in a file of weights a model's tensors are: which entry, and under which common prefix."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from jaxcnn.errors import UserError

# Entries with such a word beside one without it are averages or copies of a network.
_COPY = re.compile(
    r"(^|[^a-z])(ema|swa|averaged?|avg|shadow|best|momentum)([^a-z]|$)", re.IGNORECASE
)


class Contents(NamedTuple):
    """What a file of weights holds.

    Attributes:
      entries: the state dicts, tensors by name, by the dotted path of their entry; '' is the top.
      others: the dotted paths of what are no tensors.
      metadata: texts by name, of a `.safetensors` file.
    """

    entries: dict[str, dict[str, Any]]
    others: list[str]
    metadata: Mapping[str, str]


class Chosen(NamedTuple):
    """The tensors of one entry, without their common prefix, and lines that say what was chosen."""

    tensors: dict[str, Any]
    said: list[str]


class _Candidate(NamedTuple):
    entry: str
    prefix: str
    hits: int

    @property
    def path(self) -> str:
        return ".".join(filter(None, (self.entry, self.prefix.removesuffix("."))))


def contents_of(saved: Mapping, metadata: Mapping[str, str] | None = None) -> Contents:
    """Sorts nested dictionaries into state dicts and the rest.

    Whatever has a shape is a tensor. Dictionaries by other keys than names, as an optimizer's
    state, hold none.
    """
    entries: dict[str, dict[str, Any]] = {}
    others: list[str] = []
    for path, name, value in _leaves(saved, ""):
        if hasattr(value, "shape") and isinstance(name, str):
            entries.setdefault(path, {})[name] = value
        else:
            others.append(_joined(path, name))
    return Contents(entries, others, metadata or {})


def choose(
    contents: Contents, expected: Callable[[str], bool], source: str, entry: str = ""
) -> Chosen:
    """The tensors of the entry and the prefix under which most names are the model's.

    Where several entries fit, one that is no average is taken; the others are named.

    Args:
      expected: whether a tensor's name, without prefix, is one of the model's.
      source: what the file is called in an error.
      entry: a dotted path that the entry's must begin with; '' for any.

    Returns:
      No tensors where no name is the model's.

    Raises:
      UserError: there is no such entry, or nothing says which of several is meant.
    """
    every = _candidates(contents, expected)
    most = max((candidate.hits for candidate in every), default=0)
    fitting = [candidate for candidate in every if 2 * candidate.hits >= most]
    inside = [c for c in every if not entry or f"{c.path}.".startswith(f"{entry}.")]
    if entry and not inside:
        known = ", ".join(c.path or "(the top)" for c in fitting) or "none"
        raise UserError(
            f"entry={entry}: {source} has no such entry with this model's tensors; those that "
            f"have are {known}"
        )
    if not inside:
        return Chosen({}, [])
    taken = _plainest(inside, source)
    copies = [c for c in fitting if c != taken]
    return Chosen(_tensors(contents, taken, copies), _said(contents, taken, copies))


def _leaves(tree: Mapping, path: str) -> Iterator[tuple[str, str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping) and value and all(isinstance(key, str) for key in value):
            yield from _leaves(value, _joined(path, name))
        else:
            yield path, name, value


def _candidates(contents: Contents, expected: Callable[[str], bool]) -> list[_Candidate]:
    found = []
    for entry, tensors in contents.entries.items():
        hits: Counter[str] = Counter()
        for name in tensors:
            starts = [0, *(dot.end() for dot in re.finditer(r"\.", name))]
            hits.update(name[:start] for start in starts if expected(name[start:]))
        found += [_Candidate(entry, prefix, count) for prefix, count in hits.items()]
    return found


def _plainest(candidates: list[_Candidate], source: str) -> _Candidate:
    plain = [c for c in candidates if not _COPY.search(c.path)] or candidates
    most = max(candidate.hits for candidate in plain)
    best = [candidate for candidate in plain if candidate.hits == most]
    best = [candidate for candidate in best if not candidate.path] or best
    if len(best) > 1:
        paths = ", ".join(candidate.path for candidate in best)
        raise UserError(
            f"entry='': {source} holds several entries with this model's tensors: {paths}; "
            "choose one"
        )
    return best[0]


def _tensors(contents: Contents, taken: _Candidate, copies: list[_Candidate]) -> dict[str, Any]:
    """What is under the prefix, without it; what is beside it, by its full name; no copies."""
    prefixes = [taken.prefix, *(copy.prefix for copy in copies if copy.entry == taken.entry)]
    under, beside = {}, {}
    for name, tensor in contents.entries[taken.entry].items():
        owner = max(
            (prefix for prefix in prefixes if name.startswith(prefix)), key=len, default=None
        )
        if owner == taken.prefix:
            under[name.removeprefix(owner)] = tensor
        elif owner is None:
            beside[name] = tensor
    twice = under.keys() & beside.keys()
    return under | {
        f"{name} (outside {taken.prefix})" if name in twice else name: tensor
        for name, tensor in beside.items()
    }


def _said(contents: Contents, taken: _Candidate, copies: list[_Candidate]) -> list[str]:
    said = [f"read: {taken.path}"] if taken.path else []
    for copy in copies:
        how = f"entry={copy.path} reads it" if copy.path else "it is at the top of the file"
        said.append(f"not read: {copy.path or 'another'}, which fits too; {how}")
    read = {taken.entry, *(copy.entry for copy in copies)}
    rest = [path for path in contents.entries if path not in read] + contents.others
    if names := list(dict.fromkeys(_outside(taken.entry, path) for path in rest)):
        said.append(f"not read: {', '.join(names[:8])}{', …' if len(names) > 8 else ''}")
    return said


def _outside(entry: str, path: str) -> str:
    """The shortest beginning of a path that is no beginning of the entry's."""
    parts = path.split(".")
    beginnings = (".".join(parts[:count]) for count in range(1, len(parts) + 1))
    return next((b for b in beginnings if not f"{entry}.".startswith(f"{b}.")), path)


def _joined(path: str, name: Any) -> str:
    return f"{path}.{name}" if path else str(name)
