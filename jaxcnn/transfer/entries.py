"""Finds a model's tensors in a weight file: which entry, and under which common prefix."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from jaxcnn.errors import UserError

# Of several entries, those with such a word in their path are averages or copies of the network.
_COPY = re.compile(
    r"(^|[^a-z])(ema|swa|averaged?|avg|shadow|best|momentum)([^a-z]|$)", re.IGNORECASE
)


class Contents(NamedTuple):
    """The contents of a weight file.

    Attributes:
      entries: dotted path of the entry → its state dict (name → tensor); '' is the top level.
      others: the dotted paths of everything that is not a tensor.
      metadata: key → string, of a `.safetensors` file.
    """

    entries: dict[str, dict[str, Any]]
    others: list[str]
    metadata: Mapping[str, str]


class Chosen(NamedTuple):
    """The tensors of one entry, without their common prefix, and log lines that say which it is."""

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

    Anything with a shape is a tensor. A dictionary without a key that is a string, such as an
    optimizer's state, is not searched.
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
    """Chooses the entry and the prefix under which most names are the model's.

    If several entries fit, it chooses one that is not an average and lists the others.

    Args:
      expected: whether a tensor's name, without its prefix, is one of the model's.
      source: the file's name in an error message.
      entry: the dotted path that the chosen entry's path must start with; '' for any.

    Returns:
      The chosen tensors; none if no name is the model's.

    Raises:
      UserError: there is no such entry, or the choice between several is ambiguous.
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
    most = max(candidate.hits for candidate in inside)
    taken = _plainest([c for c in inside if 2 * c.hits >= most], source)
    copies = [c for c in fitting if c != taken]
    return Chosen(_tensors(contents, taken, copies), _said(contents, taken, copies))


def _leaves(tree: Mapping, path: str) -> Iterator[tuple[str, str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping) and any(isinstance(key, str) for key in value):
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
    """Tensors under the prefix, without it, and those outside it by their full name; no copies."""
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
    outside = (_outside(taken.entry, path) or "what is at the top of the file" for path in rest)
    if names := list(dict.fromkeys(outside)):
        said.append(f"not read: {', '.join(names[:8])}{', …' if len(names) > 8 else ''}")
    return said


def _outside(entry: str, path: str) -> str:
    """The shortest leading part of a path that is not also a leading part of the entry's."""
    parts = path.split(".")
    beginnings = (".".join(parts[:count]) for count in range(1, len(parts) + 1))
    return next((b for b in beginnings if not f"{entry}.".startswith(f"{b}.")), path)


def _joined(path: str, name: Any) -> str:
    return f"{path}.{name}" if path else str(name)
