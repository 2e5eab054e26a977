"""launch/tpu_vm/tpu.sh, with a stand-in for gcloud that records its arguments, or also obeys them."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.fast

SCRIPT = ROOT / "launch" / "tpu_vm" / "tpu.sh"
QUEUED = ["compute", "tpus", "queued-resources"]
ALL = ["--node=all", "--worker=all"]
# Answers a description with the next of the given states, and fails where it is told to. It copies to
# WORKER, the home directory of one, and gives commands to a shell there, as ssh does.
GCLOUD = """#!{python}
import json, os, pathlib, shutil, subprocess, sys

calls = pathlib.Path(os.environ["CALLS"])
made = [json.loads(line) for line in calls.read_text().splitlines()]
calls.open("a").write(json.dumps(sys.argv[1:]) + "\\n")
what, worker = sys.argv[4], os.environ.get("WORKER")
if what == os.environ.get("FAILS"):
    sys.exit(42)
if what == "describe":
    states = os.environ["STATES"].split()
    print(states[sum(call[3] == "describe" for call in made)])
if what == "scp" and worker:
    source, target = (word for word in sys.argv[5:] if not word.startswith("--"))
    if ":" in target:
        shutil.copy(source, worker)
    else:
        shutil.copytree(pathlib.Path(worker, source.split(":")[1]), target, dirs_exist_ok=True)
if what == "ssh" and worker:
    (command,) = (word[10:] for word in sys.argv if word.startswith("--command="))
    sys.exit(subprocess.run(["sh", "-c", command], cwd=worker).returncode)
"""


@pytest.fixture
def tpu(tmp_path):
    """Runs the script; returns its end and the commands that gcloud got."""
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    (programs / "gcloud").write_text(GCLOUD.format(python=sys.executable))
    (programs / "gcloud").chmod(0o755)

    def run(*arguments, **environment):
        calls.write_text("")
        path = f"{programs}:{os.environ['PATH']}"
        done = subprocess.run(
            [SCRIPT, *map(str, arguments)],
            env={**os.environ, "PATH": path, "CALLS": str(calls), "POLL": "0", **environment},
            capture_output=True,
            text=True,
        )
        return done, [json.loads(line) for line in calls.read_text().splitlines()]

    return run


def commands(tpu, *arguments):
    """The commands of a call that succeeds."""
    done, calls = tpu(*arguments)
    assert done.returncode == 0, done.stderr
    assert all(call[:3] == QUEUED for call in calls)
    return [call[3:] for call in calls]


def test_a_slice_and_several_slices_are_created(tpu):
    shape = ["--accelerator-type=v6e-16", "--runtime-version=v2-alpha-tpuv6e"]
    create = ["create", "pod", "v6e-16", "v2-alpha-tpuv6e"]
    assert commands(tpu, *create) == [["create", "pod", *shape, "--node-id=pod"]]
    assert commands(tpu, *create, "--spot") == [
        ["create", "pod", *shape, "--node-id=pod", "--spot"]
    ]
    assert commands(tpu, *create, "--spot", "--node-count=2") == [
        ["create", "pod", *shape, "--spot", "--node-count=2"]
    ]


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ("ACTIVE", 0),
        ("WAITING_FOR_RESOURCES PROVISIONING ACTIVE", 0),
        ("PROVISIONING FAILED", 1),
        ("SUSPENDED", 1),
    ],
)
def test_waiting_ends_when_the_slices_are_there_or_never_will_be(tpu, states, code):
    done, calls = tpu("wait", "pod", STATES=states)
    assert done.returncode == code
    assert done.stdout.splitlines() == [f"pod: {state}" for state in states.split()]
    describe = [*QUEUED, "describe", "pod", "--format=value(state.state)"]
    assert calls == [describe] * len(states.split())


def test_copying_sends_the_commit_and_installs_it(tpu):
    send, install = commands(tpu, "copy", "pod")
    assert send[0] == "scp"
    assert send[1].endswith("/jaxcnn.bundle")
    assert send[2:] == ["pod:", *ALL]
    assert not os.path.exists(send[1])
    assert install[:4] == ["ssh", "pod", *ALL]
    assert "uv pip install --quiet -c constraints.txt -e '.[tpu]'" in install[4]


def test_a_run_has_a_fixed_port_and_its_words_are_quoted(tpu):
    words = [
        "train",
        "--config=a b.py",
        "--workdir=/shared/run",
        "--config.train.duration=20 steps",
    ]
    (call,) = commands(tpu, "run", "pod", *words, "--config.data.augment=[{'name': 'cutout'}]")
    assert call[:4] == ["ssh", "pod", *ALL]
    assert call[4:] == [
        "--command=cd jaxcnn && JAX_COORDINATOR_PORT=8482 exec flock --no-fork --nonblock "
        "--conflict-exit-code=73 ../jaxcnn.lock .venv/bin/jaxcnn train --config=a\\ b.py "
        "--workdir=/shared/run --config.train.duration=20\\ steps "
        "--config.data.augment=\\[\\{\\'name\\':\\ \\'cutout\\'\\}\\]"
    ]


def test_the_other_commands(tpu):
    assert commands(tpu, "all", "pod", "df -h '/shared'") == [
        ["ssh", "pod", *ALL, "--command=df -h '/shared'"]
    ]
    assert commands(tpu, "stop", "pod") == [
        ["ssh", "pod", *ALL, "--command=pkill -TERM -f '[j]axcnn train'"]
    ]
    assert commands(tpu, "fetch", "pod", "/shared/a run", "runs/a run") == [
        ["scp", "--recurse", "pod:/shared/a run", "runs/a run"]
    ]
    assert commands(tpu, "delete", "pod", "--quiet") == [["delete", "pod", "--force", "--quiet"]]


@pytest.mark.parametrize(
    ("arguments", "fails", "steps"),
    [
        (["create", "pod", "v6e-16", "v2-alpha-tpuv6e"], "create", 1),
        (["wait", "pod"], "describe", 1),
        (["copy", "pod"], "scp", 1),  # nothing is installed then
        (["copy", "pod"], "ssh", 2),
        (["run", "pod", "train"], "ssh", 1),
        (["delete", "pod"], "delete", 1),
    ],
)
def test_a_step_that_fails_ends_the_command_with_its_code(tpu, arguments, fails, steps):
    done, calls = tpu(*arguments, FAILS=fails)
    assert done.returncode == 42
    assert len(calls) == steps


@pytest.mark.parametrize(
    "arguments", [[], ["create"], ["create", "pod"], ["create", "pod", "v6e-16"], ["start", "pod"]]
)
def test_mistakes_show_the_commands_and_call_nothing(tpu, arguments):
    done, calls = tpu(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("tpu.sh create NAME TYPE RUNTIME [FLAGS]")
    assert calls == []


# In place of .venv/bin/jaxcnn on a worker: says what it got, and trains until it is stopped.
WORKER = """#!/bin/bash
printf '%s\\n' "$JAX_COORDINATOR_PORT" "$@"
[ "$1" = train ] || exit 0
trap 'kill $!; exit 75' TERM
echo $$ > running
sleep 30 &
wait
"""


@pytest.fixture
def worker(tmp_path):
    """The home directory of a worker; nothing is installed but a stand-in for jaxcnn."""
    home = tmp_path / "home"
    program = home / "jaxcnn" / ".venv" / "bin" / "jaxcnn"
    program.parent.mkdir(parents=True)
    program.write_text(WORKER)
    program.chmod(0o755)
    return home


def test_on_a_worker_the_words_arrive(tpu, worker):
    done, _ = tpu("run", "pod", "models", "a b", "it's", "$HOME", WORKER=str(worker))
    assert done.stdout.splitlines() == ["8482", "models", "a b", "it's", "$HOME"], done.stderr


def test_on_a_worker_the_commit_is_checked_out_and_what_was_installed_stays(tpu, worker, tmp_path):
    (tmp_path / "bin" / "python3").symlink_to("/bin/true")  # nothing is installed here
    for _ in range(2):
        done, _ = tpu("copy", "pod", WORKER=str(worker))
        assert done.returncode == 0, done.stderr
    revisions = [
        subprocess.check_output(["git", "-C", folder, "rev-parse", "HEAD"])
        for folder in (ROOT, worker / "jaxcnn")
    ]
    assert revisions[0] == revisions[1]
    assert (worker / "jaxcnn" / "constraints.txt").exists()
    assert (worker / "jaxcnn" / ".venv" / "bin" / "jaxcnn").exists()


def test_on_a_worker_a_second_run_ends_and_the_first_one_goes_on(tpu, worker):
    running = worker / "jaxcnn" / "running"
    with ThreadPoolExecutor() as threads:
        first = threads.submit(tpu, "run", "pod", "train", WORKER=str(worker))
        deadline = time.monotonic() + 20
        while not (running.exists() and running.read_text().strip()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        second, _ = tpu("run", "pod", "train", WORKER=str(worker))
        assert second.returncode == 73
        assert not first.done()
        os.kill(int(running.read_text()), signal.SIGTERM)
        assert first.result()[0].returncode == 75


def test_a_workdir_is_fetched(tpu, worker, tmp_path):
    (worker / "a run").mkdir()
    (worker / "a run" / "result.json").write_text("{}")
    done, _ = tpu("fetch", "pod", "a run", tmp_path / "fetched run", WORKER=str(worker))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "fetched run" / "result.json").exists()
