"""launch/local.py, with a small program in jaxcnn's place."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.fast

# Process i meets the i-th fate that it is given. The first one listens, as a coordinator does.
PROGRAM = """
import os, signal, socket, sys, time

*fates, coordinator, processes, process = sys.argv[1:]
i = int(process.removeprefix("--process_id="))
if i == 0:
    host, port = coordinator.removeprefix("--coordinator=").split(":")
    listener = socket.create_server((host, int(port)))
fate = fates[i]
handlers = {"deaf": signal.SIG_IGN, "early": signal.SIG_DFL}
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, handlers.get(fate, lambda *_: sys.exit(75)))
print(*fates, coordinator, processes, process, os.environ.get("XLA_FLAGS"), flush=True)
if fate == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if fate.isdigit():
    time.sleep(0.2 * i)
    sys.exit(int(fate))
time.sleep(60)
"""


@pytest.fixture
def launch(tmp_path):
    """Starts a process for each fate."""
    program = tmp_path / "a program.py"
    program.write_text(PROGRAM)

    def start(*fates, flags=(), **more):
        command = [sys.executable, ROOT / "launch" / "local.py", "-n", str(len(fates))]
        environment = {
            **os.environ,
            "JAXCNN": f"{sys.executable} '{program}'",
            "XLA_FLAGS": "--given",
        }
        return subprocess.Popen(
            [*command, *flags, "--", *fates],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )

    return start


def end(process):
    """The exit code and both outputs."""
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def test_all_end_well_and_the_lines_of_all_but_the_first_are_marked(launch):
    code, out, err = end(launch("0", "0", "0", flags=["--devices=4"]))
    assert code == 0
    flags = r"0 0 0 --coordinator=127\.0\.0\.1:(\d+) --num_processes=3 --process_id="
    devices = " --given --xla_force_host_platform_device_count=4"
    (port,) = re.fullmatch(f"{flags}0{devices}\n", out).groups()
    assert sorted(err.splitlines()) == [
        f"[{i}] 0 0 0 --coordinator=127.0.0.1:{port} --num_processes=3 --process_id={i}{devices}"
        for i in (1, 2)
    ]


@pytest.mark.parametrize(
    ("fates", "expected"),
    [
        (("75", "75"), 75),
        (("0", "75"), 75),
        (("75", "3"), 3),
        (("0", "3", "1"), 3),  # the first failure
        (("75", "killed"), 137),
    ],
)
def test_the_code_is_that_of_the_first_failure_or_75(launch, fates, expected):
    code, _, err = end(launch(*fates))
    assert code == expected, err


@pytest.mark.parametrize(("fate", "expected"), [("3", 3), ("killed", 137), ("75", 75)])
@pytest.mark.parametrize("first", [True, False])
def test_when_one_ends_the_others_are_killed_after_the_grace(launch, fate, expected, first):
    fates = (fate, "deaf") if first else ("deaf", fate)
    started = time.monotonic()
    code, _, err = end(launch(*fates, flags=["--grace=0.5"]))
    assert code == expected, err
    assert time.monotonic() - started < 15
    ended, killed = (0, 1) if first else (1, 0)
    assert f"local.py: process {ended} ended with exit code {expected}" in err
    assert f"local.py: process {killed} has not ended within 0.5 s and is killed" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("fates", [("waits", "waits"), ("waits", "early"), ("early", "waits")])
def test_a_signal_reaches_all(launch, number, fates):
    process = launch(*fates)
    process.stdout.readline(), process.stderr.readline()  # both are ready
    process.send_signal(number)
    code, _, err = end(process)
    assert code == 75, err


def test_ctrl_c_reaches_each_process_once(launch):
    """A terminal sends it to the whole foreground group, and a second one would end jaxcnn at once."""
    process = launch("waits", "waits", start_new_session=True)
    process.stdout.readline(), process.stderr.readline()
    os.killpg(process.pid, signal.SIGINT)
    code, _, err = end(process)
    assert code == 75
    assert "Traceback" not in err  # of an interrupted exit


def test_each_attempt_has_a_port_that_is_free(launch):
    """Two at the same time, and another one after them."""
    pair = [launch("waits", "waits"), launch("waits", "waits")]
    ports = [re.search(r"1:(\d+)", process.stdout.readline())[1] for process in pair]
    assert ports[0] != ports[1]
    for process in pair:
        process.terminate()
        assert end(process)[0] == 75
    assert end(launch("0", "0"))[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-n", "0", "--", "train"], "n=0 must be at least 1"),
        (["-n", "2", "--devices=0", "--", "train"], "devices=0 must be at least 1"),
        (["-n", "2"], "required: ARGUMENT"),
    ],
)
def test_mistakes_are_one_line(arguments, said):
    command = [sys.executable, ROOT / "launch" / "local.py", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]


def test_a_program_that_does_not_exist_is_one_line():
    command = [sys.executable, ROOT / "launch" / "local.py", "-n", "2", "--", "train"]
    environment = {**os.environ, "JAXCNN": "no-such-program"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "local.py: JAXCNN=no-such-program is not a program\n"
