"""Config files by path, by name, with an argument; and modules of one's own."""

import sys

import pytest

from jaxcnn import load_config
from jaxcnn.compare import load_comparison
from jaxcnn.config import files, shipped_configs, summary_of
from jaxcnn.errors import UserError
from jaxcnn.optim.optimizers import OPTIMIZERS
from tests.conftest import ROOT

pytestmark = pytest.mark.fast

WITH_ARGUMENT = """
from jaxcnn.config import default_config

def get_config(size{default}):
    config = default_config()
    config.train.global_batch_size = int(size)
    return config
"""

MINE = """
import optax
from jaxcnn import register_optimizer

@register_optimizer("mine_of_this_test")
def mine(learning_rate=0.1, momentum=0.5):
    return optax.sgd(learning_rate, momentum)
"""


def test_every_config_file_is_shipped_by_its_name():
    assert set(shipped_configs()) == {
        str(path.relative_to(ROOT / "configs").with_suffix(""))
        for path in (ROOT / "configs").rglob("*.py")
    }


@pytest.mark.parametrize("name", shipped_configs())
def test_a_name_is_as_good_as_a_path_and_says_what_it_is(name):
    path = ROOT / "configs" / f"{name}.py"
    load = load_config
    if name.startswith("ablations/"):
        with pytest.raises(
            UserError, match=r"no get_config\(\) but get_comparison\(\), for a sweep"
        ):
            load_config(name)

        def load(which):
            return load_comparison(which).base

    assert load(name).to_dict() == load(path).to_dict()
    assert summary_of(path).endswith(".")


def test_an_argument_is_passed_to_get_config(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(WITH_ARGUMENT.format(default=""))
    assert load_config(f"{path}:96").train.global_batch_size == 96
    with pytest.raises(
        UserError, match=r"its get_config takes an argument; give it as .*mine.py:T"
    ):
        load_config(path)
    path.write_text(WITH_ARGUMENT.format(default="=32"))
    assert load_config(path).train.global_batch_size == 32
    with pytest.raises(UserError, match=r"digits_lenet.py:96: its get_config takes no argument"):
        load_config("digits_lenet:96")


def test_an_argument_may_hold_colons_and_a_get_config_may_not_take_two(tmp_path):
    path = tmp_path / "mine.py"
    text = WITH_ARGUMENT.format(default="").replace("int(size)", "len(size)")
    path.write_text(text)
    assert load_config(f"{path}:gs://bucket").train.global_batch_size == len("gs://bucket")
    path.write_text(text.replace("(size)", "(size, other)", 1))
    for given in (path, f"{path}:96"):
        with pytest.raises(UserError, match=r"its get_config\(size, other\) must take no argument"):
            load_config(given)


def test_names_in_folders(tmp_path, monkeypatch):
    (tmp_path / "configs" / "ablations").mkdir(parents=True)
    path = tmp_path / "configs" / "ablations" / "norms.py"
    path.write_text('"""Norms compared — §2."""\n1 / 0')
    monkeypatch.setattr(files, "_PACKAGE", tmp_path)
    assert shipped_configs() == {"ablations/norms": path}
    assert summary_of(path) == "Norms compared — §2."  # without running it
    with pytest.raises(UserError, match="line 2: ZeroDivisionError"):
        load_config("ablations/norms")


def test_a_path_wins_over_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = WITH_ARGUMENT.format(default="=7")
    (tmp_path / "digits_lenet").write_text(text)
    assert load_config("digits_lenet").train.global_batch_size == 7


def test_what_is_neither_a_file_nor_a_name():
    with pytest.raises(
        UserError, match="config=digit_lenet: there is no such file; did you mean"
    ) as error:
        load_config("digit_lenet")
    assert str(error.value).endswith("imagenet_resnet50, or the path of another file")


@pytest.fixture
def optimizers(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(OPTIMIZERS, "_constructors", dict(OPTIMIZERS._constructors))
    yield
    for name in [name for name in sys.modules if name.endswith("_of_this_test")]:
        del sys.modules[name]


def test_modules_of_one_s_own_are_imported_before_names_are_looked_up(
    tmp_path, monkeypatch, optimizers
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    (tmp_path / "my_parts_of_this_test.py").write_text(MINE)
    overrides = {
        "imports": "['my_parts_of_this_test']",
        "optimizer.name": "mine_of_this_test",
        "optimizer.momentum": "0.7",
    }
    config = load_config("digits_lenet", overrides)
    assert config.imports == ("my_parts_of_this_test",)
    assert config.optimizer.momentum == 0.7
    with pytest.raises(UserError, match="config.imports: 'not_there' cannot be imported: Module"):
        load_config("digits_lenet", {"imports": "['not_there']"})
    (tmp_path / "leaving_of_this_test.py").write_text("import sys; sys.exit(3)")
    with pytest.raises(UserError, match="cannot be imported: SystemExit: 3"):
        load_config("digits_lenet", {"imports": "['leaving_of_this_test']"})
    (tmp_path / "broken_of_this_test.py").write_text("1 / 0")
    with pytest.raises(UserError, match="cannot be imported: ZeroDivisionError: division by zero"):
        load_config("digits_lenet", {"imports": "['broken_of_this_test']"})


def test_a_config_imports_the_modules_beside_it(tmp_path):
    """Of each folder its own, whatever another folder has by the same name."""
    config = "import base\nfrom parts import sizes\n\ndef get_config():\n    return base.config(sizes.SIZE)\n"
    base = (
        "from jaxcnn.config import default_config\n\ndef config(size):\n    config = default_config()\n"
        "    config.seed = {seed}\n    config.train.global_batch_size = size\n    return config\n"
    )
    for seed, folder in enumerate((tmp_path / "one", tmp_path / "two"), start=1):
        (folder / "parts").mkdir(parents=True)
        (folder / "parts" / "__init__.py").write_text("")
        (folder / "parts" / "sizes.py").write_text(f"SIZE = {8 * seed}")
        (folder / "base.py").write_text(base.format(seed=seed))
        (folder / "mine.py").write_text(config)
    path, modules = list(sys.path), set(sys.modules)
    for seed, folder in ((1, "one"), (2, "two"), (1, "one")):
        loaded = load_config(tmp_path / folder / "mine.py")
        assert (loaded.seed, loaded.train.global_batch_size) == (seed, 8 * seed)
    assert sys.path == path
    assert not {"base", "parts", "parts.sizes"} & (set(sys.modules) - modules)


def test_a_neighbour_that_fails_is_one_line(tmp_path):
    (tmp_path / "base.py").write_text("1 / 0")
    (tmp_path / "mine.py").write_text("\nimport base\n")
    with pytest.raises(UserError, match=r"mine.py, line 2: ZeroDivisionError: division by zero"):
        load_config(tmp_path / "mine.py")
    assert str(tmp_path) not in sys.path
