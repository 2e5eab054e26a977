"""The manifests of launch/gke fit the schemas of Kubernetes and JobSet and the rules of a run that
resumes; a broken copy does not."""

import copy
import math

import jsonschema
import kubernetes_validate
import pytest
import yaml

from jaxcnn.cli.main import _parse
from jaxcnn.errors import UserError
from tests.conftest import ROOT
from tests.launch.jobset import SCHEMA

pytestmark = pytest.mark.fast

VERSION = "1.33"  # of the oldest cluster
GKE = ROOT / "launch" / "gke"
RESUMABLE = [75, 134, 137, 143]
POOL = "cloud.google.com/gke-nodepool"


def manifest(name):
    (document,) = yaml.safe_load_all((GKE / f"{name}.yaml").read_text())
    return document


def check(document):
    """Raises an error for a manifest that is not valid, or that would not resume a run."""
    if document["kind"] == "Job":
        kubernetes_validate.validate(document, VERSION, strict=True)
        check_job(document["spec"], "worker")
        return
    jsonschema.validate(document, SCHEMA)
    for job in document["spec"]["replicatedJobs"]:
        template = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job["name"]}}
        kubernetes_validate.validate({**template, **job["template"]}, VERSION, strict=True)
        check_job(job["template"]["spec"], "train")
    check_jobset(document)


def check_job(spec, name):
    """Of a sweep and of a training: an index per worker, and which ends are errors."""
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"]
    rule = spec["podFailurePolicy"]["rules"][-1]
    assert rule == {
        "action": "FailJob",
        "onExitCodes": {"containerName": name, "operator": "NotIn", "values": RESUMABLE},
    }
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] >= 60
    (container,) = pod["containers"]
    assert container["name"] == name
    command = _parse([*container["command"][1:], *arguments_of(container)], [])
    shared = container["volumeMounts"][0]["mountPath"]
    assert str(command.workdir).startswith(f"{shared}/")
    assert [mount["name"] for mount in container["volumeMounts"]] == [
        volume["name"] for volume in pod["volumes"]
    ]


def arguments_of(container):
    """Those that `jaxcnn` has in every process."""
    joins = ("--coordinator", "--num_processes", "--process_id")
    return [word for word in container["args"] if not word.startswith(joins)]


def check_jobset(document):
    """The pods of a training live and die together."""
    name, spec = document["metadata"]["name"], document["spec"]
    topology = "alpha.jobset.sigs.k8s.io/exclusive-topology"
    assert document["metadata"]["annotations"] == {topology: POOL}
    policy = spec["failurePolicy"]
    assert policy["maxRestarts"] > 0
    assert policy["restartStrategy"] == "BlockingRecreate"
    (rule,) = policy["rules"]
    assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])
    (job,) = spec["replicatedJobs"]
    inner = job["template"]["spec"]
    assert inner["backoffLimit"] == 0
    assert [rule["action"] for rule in inner["podFailurePolicy"]["rules"]] == ["FailJob"]
    pod = inner["template"]["spec"]
    (container,) = pod["containers"]
    selector, limits = pod["nodeSelector"], container["resources"]["limits"]
    if "google.com/tpu" in limits:
        assert "cloud.google.com/gke-tpu-accelerator" in selector
        sides = selector["cloud.google.com/gke-tpu-topology"].split("x")
        assert math.prod(map(int, sides)) == limits["google.com/tpu"] * inner["completions"]
        assert container["env"] == [{"name": "JAX_COORDINATOR_PORT", "value": "8482"}]
        return
    assert limits["nvidia.com/gpu"] > 0
    assert "cloud.google.com/gke-accelerator" in selector
    assert job["replicas"] == 1
    assert [word for word in container["args"] if word not in arguments_of(container)] == [
        f"--coordinator={name}-{job['name']}-0-0.{name}:8482",
        f"--num_processes={inner['completions']}",
        "--process_id=$(JOB_COMPLETION_INDEX)",
    ]


def test_every_manifest_is_checked():
    assert {path.stem for path in GKE.glob("*.yaml")} == {"sweep", "train_tpu", "train_gpu"}


@pytest.mark.parametrize("name", ["sweep", "train_tpu", "train_gpu"])
def test_manifests_are_valid(name):
    check(manifest(name))


REMOVED = object()
JOBSET = ("spec", "failurePolicy")
JOB = ("spec", "replicatedJobs", 0, "template", "spec")
POD = (*JOB, "template", "spec")
CONTAINER = (*POD, "containers", 0)
CODES = ("podFailurePolicy", "rules", -1, "onExitCodes")
SWEEP = ("spec", "template", "spec")
BROKEN_SWEEP = [
    (("spec", "completionMod"), "Indexed"),
    (("spec", "completions"), "four"),
    (("spec", "parallelism"), 3),
    (("spec", "podFailurePolicy", "rules", 0, "action"), None),
    (("spec", *CODES, "values"), [75]),
    (("spec", *CODES, "containerName"), "train"),
    ((*SWEEP, "restartPolicy"), "OnFailure"),
    ((*SWEEP, "terminationGracePeriodSeconds"), REMOVED),
    ((*SWEEP, "containers", 0, "comand"), ["jaxcnn"]),
    ((*SWEEP, "containers", 0, "command"), ["jaxcnn", "sweep", "--wroker"]),
    ((*SWEEP, "containers", 0, "args", 1), "--workdir=/tmp/x"),
]
BROKEN_TRAINING = [
    (("apiVersion",), "jobset.x-k8s.io/v1alpha1"),
    (("kind",), "Jobset"),
    (("metadata", "name"), "Jaxcnn_train"),
    (("metadata", "annotations", "alpha.jobset.sigs.k8s.io/exclusive-topology"), REMOVED),
    (("spec", "replicatedJob"), []),
    (("spec", "replicatedJobs", 0, "replica"), 1),
    (("spec", "replicatedJobs", 0, "replicas"), "two"),
    (JOBSET, REMOVED),
    ((*JOBSET, "maxRestart"), 3),
    ((*JOBSET, "maxRestarts"), -1),
    ((*JOBSET, "restartStrategy"), "Recreate"),
    ((*JOBSET, "restartStrategy"), "Blocking"),
    ((*JOBSET, "rules"), REMOVED),
    ((*JOBSET, "rules", 0, "name"), REMOVED),
    ((*JOBSET, "rules", 0, "action"), "Fail"),
    ((*JOBSET, "rules", 0, "action"), "RestartJobSet"),
    ((*JOBSET, "rules", 0, "onJobFailureReasons"), ["ExitCode"]),
    ((*JOBSET, "rules", 0, "onJobFailureReasons"), ["BackoffLimitExceeded"]),
    ((*JOB, "completionMode"), "NonIndexed"),
    ((*JOB, "completions"), 3),
    ((*JOB, "backoffLimit"), 6),
    ((*JOB, "backofLimit"), 0),
    ((*JOB, "podFailurePolicy"), REMOVED),
    ((*JOB, "podFailurePolicy", "rules", 0, "action"), "Ignore"),
    ((*JOB, *CODES, "operator"), "In"),
    ((*JOB, *CODES, "values"), [75, 137, 143]),
    ((*JOB, *CODES, "values"), [1, 75, 134, 137, 143]),
    ((*JOB, *CODES, "containerName"), "worker"),
    ((*POD, "restartPolicy"), "OnFailure"),
    ((*POD, "terminationGracePeriodSeconds"), 5),
    ((*POD, "terminationGracePeriod"), 120),
    ((*POD, "nodeSelector"), {}),
    ((*POD, "volumes", 0, "name"), "other"),
    ((*CONTAINER, "comand"), ["jaxcnn"]),
    ((*CONTAINER, "args"), ["--config=x"]),
    ((*CONTAINER, "args", 1), "--worrkdir=/runs/x"),
    ((*CONTAINER, "args", 1), "--workdir=/tmp/x"),
    ((*CONTAINER, "resources", "limits"), {"cpu": "4"}),
]
TPU = "cloud.google.com/gke-tpu-topology"
BROKEN_TPU = [
    ((*POD, "nodeSelector", TPU), "4x8"),
    ((*CONTAINER, "resources", "limits", "google.com/tpu"), 8),
    ((*CONTAINER, "env"), []),
]
BROKEN_GPU = [
    (("metadata", "name"), "other"),
    (("spec", "replicatedJobs", 0, "replicas"), 2),
    ((*CONTAINER, "args", 2), "--coordinator=jaxcnn-train-node-0-0:8482"),
    ((*CONTAINER, "args", 3), "--num_processes=4"),
    ((*CONTAINER, "args", 4), "--process_id=0"),
]
BROKEN = [
    (name, place, value)
    for name, cases in {
        "sweep": BROKEN_SWEEP,
        "train_tpu": [*BROKEN_TRAINING, *BROKEN_TPU],
        "train_gpu": [*BROKEN_TRAINING, *BROKEN_GPU],
    }.items()
    for place, value in cases
]


@pytest.mark.parametrize(("name", "place", "value"), BROKEN)
def test_a_broken_copy_is_not(name, place, value):
    document = copy.deepcopy(manifest(name))
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    if value is REMOVED:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    with pytest.raises(
        (AssertionError, KeyError, jsonschema.ValidationError, kubernetes_validate.ValidationError,
         UserError)
    ):  # fmt: skip
        check(document)
