"""A comparison's file: what each arm's config is, and what is refused before anything is trained."""

import json

import pytest

from jaxcnn.compare import Arm, Choice, Comparison, LogUniform, Uniform, load_comparison
from jaxcnn.compare.loading import check_comparison
from jaxcnn.config import load_config_file, shipped_configs
from jaxcnn.errors import UserError
from tests.compare.test_study import RATE, comparison

pytestmark = pytest.mark.fast

ABLATIONS = [name for name in shipped_configs() if name.startswith("ablations/")]


@pytest.mark.parametrize("name", ABLATIONS)
def test_the_shipped_ones_load(name):
    found = load_comparison(name)
    for arm in found.arms:
        assert found.config(arm).optimizer.learning_rate > 0
    described = json.loads(json.dumps(found.to_json(), allow_nan=False))
    again = Comparison.from_json(described).to_json()
    assert json.loads(json.dumps(again)) == described


def test_an_arm_as_it_comes_has_its_defaults_not_the_tuned_values_of_the_base():
    base = load_config_file("digits_lenet")
    base.optimizer.clip_norm = 3.0
    arms = {name: Arm({"optimizer.name": name}) for name in ("nesterov", "momentum")}
    found = comparison(base=base, arms=arms)
    configs = [found.config(arm) for arm in arms]
    assert base.optimizer.learning_rate == 0.05
    assert {config.optimizer.learning_rate for config in configs} == {
        found.config("momentum").optimizer.learning_rate
    }
    assert configs[0].optimizer.learning_rate != 0.05
    # What the base says of every optimizer stays.
    assert [config.optimizer.clip_norm for config in configs] == [3.0, 3.0]
    assert [config.loss.l2_regularization for config in configs] == [5e-4, 5e-4]


def test_a_trials_settings_and_seed_are_in_its_config():
    config = comparison().config("adam", {RATE: 0.0123, "train.duration": "3 epochs"}, seed=7)
    assert (config.optimizer.learning_rate, config.seed) == (0.0123, 7)
    assert (config.optimizer.name, config.train.duration) == ("adam", "3 epochs")


SPACE = {RATE: LogUniform(1e-3, 1.0)}
SGD = {"optimizer.name": "sgd"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arms": {}}, "arms={}: there is nothing to compare"),
        ({"arms": {"a": Arm({"optimizer.nmae": "sgd"})}}, "arm 'a': .*nmae"),
        ({"arms": {"a": Arm(SGD, {"optimizer.learning_rat": Uniform(0.1, 1)})}}, "arm 'a': .*did you mean 'learning_rate'"),
        ({"arms": {"a": Arm({"optimizer.name": "momentum"}, {"optimizer.momentum": Uniform(0.5, 1.5)})}}, "arm 'a': .*momentum=1.5 must be"),
        ({"arms": {"a": Arm({"optimizer.name": "addam"})}}, "arm 'a': .*did you mean 'adam'"),
        ({"arms": {"a": Arm({RATE: "fast"})}}, "arm 'a': .*'fast' has the wrong type"),
        ({"arms": {"a": Arm(SGD, {"model.name": Choice(("lenet5", "lenet7"))})}}, "arm 'a': .*lenet7"),
        ({"arms": {"a": Arm(SGD, SPACE, trials=0)}}, "arm 'a': trials=0 must be at least 1"),
        ({"arms": {"a": Arm(SGD, trials=4)}}, "arm 'a': trials=4, but it has no space"),
        ({"arms": {"a/b": Arm(SGD)}}, "arm 'a/b': the name of an arm is also a directory"),
        ({"arms": {"a": Arm({RATE: 0.1}, SPACE)}}, "is both in its settings and in its space"),
        ({"arms": {"a": Arm({"seed": 3})}}, "arm 'a': the study sets seed"),
        ({"trials": 0}, "trials=0 must be a whole number, at least 1"),
        ({"seeds": 2.5}, "seeds=2.5 must be a whole number"),
        ({"sampler": "haltom"}, "sampler 'haltom' does not exist; did you mean 'halton'"),
        ({"select_by": "speed"}, "select_by 'speed' does not exist"),
        ({"way": "pmap"}, "way 'pmap' does not exist"),
        ({"metric": "accuracy_top5"}, "metric 'accuracy_top5' does not exist"),
        ({"sampler": "grid"}, "a grid search needs points=2 or more"),
    ],
)  # fmt: skip
def test_what_is_refused(changes, said):
    with pytest.raises(UserError, match=said) as error:
        check_comparison(comparison(**changes))
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_comparison(tmp_path):
    (tmp_path / "a.py").write_text("x = 1")
    with pytest.raises(UserError, match=r"it defines no get_comparison\(\)"):
        load_comparison(tmp_path / "a.py")
    (tmp_path / "b.py").write_text("def get_comparison():\n    return {}")
    with pytest.raises(UserError, match="returns dict, not a Comparison"):
        load_comparison(tmp_path / "b.py")
    with pytest.raises(UserError, match="it defines no get_comparison"):
        load_comparison("digits_lenet")


def test_overrides_change_the_base():
    found = load_comparison("ablations/optimizers_digits", {"train.duration": "2 epochs"}, trials=3)
    assert found.config("adam").train.duration == "2 epochs"
    assert found.points("adam") == 3


def test_a_users_own_optimizer_takes_part(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_optimizers.py").write_text(
        "import optax\nfrom jaxcnn import register_optimizer\n\n"
        "@register_optimizer('sign_of_mine')\n"
        "def sign(learning_rate: float = 0.01):\n    return optax.sign_sgd(learning_rate)\n"
    )
    found = comparison()
    found.base.imports = ("my_optimizers",)
    found.arms["mine"] = Arm({"optimizer.name": "sign_of_mine"}, SPACE)
    check_comparison(found)
    assert found.config("mine", {RATE: 0.5}).optimizer.to_dict()["learning_rate"] == 0.5
