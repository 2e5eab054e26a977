"""The manifests of launch/gke fit Kubernetes' own schemas, and a broken copy does not."""

import kubernetes_validate
import pytest
import yaml

from tests.conftest import ROOT

VERSION = "1.33"  # of the oldest cluster
MANIFESTS = sorted((ROOT / "launch" / "gke").glob("*.yaml"))


def documents(path):
    return list(yaml.safe_load_all(path.read_text()))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_are_valid(path):
    for document in documents(path):
        kubernetes_validate.validate(document, VERSION, strict=True)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("spec", "completionMod"), "Indexed"),
        (("spec", "completions"), "four"),
        (("spec", "podFailurePolicy", "rules", 0, "action"), None),
        (("spec", "template", "spec", "containers", 0, "comand"), ["jaxcnn"]),
    ],
)
def test_a_broken_copy_is_not(place, value):
    (document,) = documents(ROOT / "launch" / "gke" / "sweep.yaml")
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, VERSION, strict=True)


def test_the_sweep_runs_as_many_workers_as_it_has_indices_and_the_command_exists():
    (document,) = documents(ROOT / "launch" / "gke" / "sweep.yaml")
    spec = document["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert spec["completions"] == spec["parallelism"]
    assert container["command"] == ["jaxcnn", "sweep", "--worker"]
    codes = spec["podFailurePolicy"]["rules"][1]["onExitCodes"]
    assert (codes["operator"], codes["values"]) == ("NotIn", [75, 134, 137, 143])
