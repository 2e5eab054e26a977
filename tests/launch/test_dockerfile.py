"""launch/Dockerfile: what it copies exists, and what it installs is what pyproject.toml offers."""

import json
import re
import subprocess
import tomllib

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.fast

TEXT = (ROOT / "launch" / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def instructions():
    """The instructions as pairs of a keyword and its text, each on one line."""
    lines = [line for line in TEXT.splitlines() if line and not line.startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in whole.splitlines()]


def texts(keyword):
    return [text for word, text in instructions() if word == keyword]


def test_the_base_is_pinned_to_a_python_that_jaxcnn_supports():
    (base,) = texts("FROM")
    version = re.fullmatch(r"python:(\d+)\.(\d+)\.\d+-slim-\w+", base)
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=").split(".")
    assert tuple(map(int, version.groups())) >= tuple(map(int, oldest))


def test_what_is_copied_exists_and_is_all_that_the_wheel_needs():
    sources = [source for text in texts("COPY") for source in text.split()[:-1]]
    assert [source for source in sources if not (ROOT / source).exists()] == []
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", "constraints.txt", PROJECT["project"]["readme"]}
    needed.update(PROJECT["project"]["license-files"], wheel["packages"], wheel["force-include"])
    assert set(sources) == needed


def choose(accelerator):
    """Runs the Dockerfile's own choice of an extra: what it would install, or what it says."""
    (install,) = [text for text in texts("RUN") if "ACCELERATOR" in text]
    choice = install.split("&&")[0] + ' && echo ".$extra"'
    return subprocess.run(
        ["sh", "-c", choice], env={"ACCELERATOR": accelerator}, capture_output=True, text=True
    )


def test_each_accelerator_is_an_extra_and_another_one_is_refused():
    assert texts("ARG") == ["ACCELERATOR=cpu"]
    assert choose("cpu").stdout == ".\n"
    for accelerator in ("gpu", "tpu"):
        extra = re.fullmatch(r"\.\[(\w+)\]\n", choose(accelerator).stdout)[1]
        assert extra in PROJECT["project"]["optional-dependencies"]
    refused = choose("gpus")
    assert refused.returncode == 1
    assert refused.stderr == "ACCELERATOR=gpus must be cpu, gpu or tpu\n"


def test_the_pins_apply_to_everything():
    (pins,) = [text for text in texts("ENV") if "PIP_CONSTRAINT" in text]
    (folder,) = {text for text in texts("WORKDIR") if text.startswith("/opt")}
    assert f"PIP_CONSTRAINT={folder}/constraints.txt" in pins.split()
    order = [word for word, text in instructions() if "pip install" in text or word == "ENV"]
    assert order == ["ENV", "RUN", "RUN"]


def test_it_runs_jaxcnn_and_not_as_root():
    entry = [json.loads(text) for text in texts("ENTRYPOINT")]
    assert entry == [list(PROJECT["project"]["scripts"])]
    (user,) = texts("USER")
    assert user == "1000"
    assert any(f"useradd --create-home --uid={user}" in text for text in texts("RUN"))
