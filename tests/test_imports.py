"""Imports run one way: every room may use those below it, never those above, never in a circle."""

import ast

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.fast

PACKAGE = ROOT / "jaxcnn"
GROUND = (
    "errors", "limits", "durations", "registry", "layout", "hosts", "files", "leases", "programs",
    "tensorflow",
    "runtime", "cpu",
)  # fmt: skip
# From the top; the rooms of a storey may use each other as long as they make no circle.
STOREYS = (
    ("cli",),
    ("compare", "diagnose"),
    ("train",),
    ("transfer",),
    ("data", "models", "optim"),
    ("layers", "plots", "config"),
    GROUND,
)
LEVEL = {room: level for level, storey in enumerate(STOREYS) for room in storey}


def room_of(module):
    return module.split(".")[1]


def imports_of(path):
    """The jaxcnn modules that a file imports, also within its functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "jaxcnn":
            yield from (f"jaxcnn.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jaxcnn."):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("jaxcnn."))


FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.parent != PACKAGE or path.stem not in ("__init__", "__main__")
}
EDGES = {module: set(imports_of(path)) for module, path in FILES.items()}


def test_every_room_has_its_storey():
    assert {room_of(module) for module in FILES} == set(LEVEL)


@pytest.mark.parametrize("module", FILES)
def test_imports_go_downwards(module):
    level = LEVEL[room_of(module)]
    assert not {name for name in EDGES[module] if LEVEL[room_of(name)] < level}


def test_data_knows_no_network_and_no_optimizer():
    data = [module for module in FILES if room_of(module) == "data"]
    assert not {room_of(name) for module in data for name in EDGES[module]} & {"models", "optim"}


def test_rooms_make_no_circle():
    rooms = {room: set() for room in LEVEL}
    for module, imported in EDGES.items():
        rooms[room_of(module)] |= {room_of(name) for name in imported} - {room_of(module)}
    while rooms:
        free = {room for room, uses in rooms.items() if not uses & set(rooms)}
        assert free, f"a circle among {sorted(rooms)}"
        rooms = {room: uses for room, uses in rooms.items() if room not in free}


def test_no_file_is_long_and_no_function_either():
    for path in FILES.values():
        text = path.read_text()
        assert len(text.splitlines()) <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, (path, node.name)
    assert len((PACKAGE / "train" / "loop.py").read_text().splitlines()) <= 200
