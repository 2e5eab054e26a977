"""Trains with several processes on this machine:

    python launch/local.py -n 2 --devices=4 -- train --config=digits_lenet --workdir=runs/two

Each process gets the flags --coordinator, --num_processes and --process_id and, with --devices, that
many virtual CPU devices. Process 0 prints as usual; the lines of process i begin with [i]. SIGTERM,
Ctrl-C and a closed terminal stop all processes. When one fails, the others have --grace seconds to end.

The exit code is 0 if all processes ended well, that of the first one that failed, or 75 if they were
stopped and nothing failed: the same command then resumes the run.

JAXCNN names the program to start, if it is not the jaxcnn of this Python.
"""

import argparse
import math
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

PREEMPTED = 75
_LOOK = 0.05  # seconds between looks at the processes


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parse(arguments)
    signals = _signals()
    program = shlex.split(os.environ.get("JAXCNN", "")) or [sys.executable, "-m", "jaxcnn"]
    if shutil.which(program[0]) is None:
        sys.exit(f"local.py: JAXCNN={program[0]} is not a program")
    address = f"127.0.0.1:{free_port()}"
    processes = []
    for i in range(given.n):
        flags = [f"--coordinator={address}", f"--num_processes={given.n}", f"--process_id={i}"]
        processes.append(_start([*program, *given.command, *flags], i, given.devices))
    printers = [_printer(process, i) for i, process in enumerate(processes) if process.stdout]
    code = wait(processes, signals, given.grace)
    for printer in printers:
        printer.join(5)  # not longer: what a process has left running may hold its output open
    return code


def free_port() -> int:
    """A port that is free now; the coordinator opens it a few seconds later."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait(processes: Sequence[subprocess.Popen], signals: list[int], grace: float) -> int:
    """Waits until all processes have ended; returns the exit code for all of them.

    Args:
      signals: those received, to which a handler appends; each is forwarded once.
      grace: seconds from the first failure until the processes that still run are killed.
    """
    codes: dict[int, int] = {}  # in the order in which the processes end
    forwarded, deadline = 0, math.inf
    while running := [i for i in range(len(processes)) if i not in codes]:
        for number in signals[forwarded:]:
            forwarded += 1
            for i in running:
                processes[i].send_signal(number)
        for i in running:
            if processes[i].poll() is None:
                continue
            codes[i] = _code(processes[i].returncode, signals[:forwarded])
            if codes[i] != 0:
                _say(f"process {i} ended with exit code {codes[i]}")
                deadline = min(deadline, time.monotonic() + grace)
        if time.monotonic() > deadline:
            for i in set(running) - set(codes):
                _say(f"process {i} has not ended within {grace:g} s and is killed")
                os.killpg(processes[i].pid, signal.SIGKILL)
                processes[i].wait()
            break
        time.sleep(_LOOK)
    failures = [code for code in codes.values() if code not in (0, PREEMPTED)]
    return failures[0] if failures else max(codes.values())


def _code(returncode: int, forwarded: Sequence[int]) -> int:
    if -returncode in forwarded:  # it had no handler yet
        return PREEMPTED
    return returncode if returncode >= 0 else 128 - returncode  # as a shell counts signals


def _signals() -> list[int]:
    """The signals that arrive from now on, each as what it means to jaxcnn."""
    received: list[int] = []
    means = {
        signal.SIGTERM: signal.SIGTERM,
        signal.SIGINT: signal.SIGINT,
        signal.SIGHUP: signal.SIGTERM,
    }
    for number in means:
        if signal.getsignal(number) != signal.SIG_IGN:  # as SIGHUP is under nohup
            signal.signal(number, lambda number, _: received.append(means[number]))
    return received


def _start(command: Sequence[str], i: int, devices: int | None) -> subprocess.Popen:
    environment = dict(os.environ)
    if devices:
        flags = environment.get("XLA_FLAGS", "")
        flags += f" --xla_force_host_platform_device_count={devices}"
        environment |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags.strip()}
        environment.setdefault("NPROC", str(4 * devices))  # with fewer threads XLA can deadlock
    streams = {}
    if i > 0:
        streams = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
        }
    # In a session of its own, Ctrl-C does not reach it a second time.
    return subprocess.Popen(command, env=environment, start_new_session=True, **streams)


def _printer(process: subprocess.Popen, i: int) -> threading.Thread:
    def lines() -> None:
        for line in process.stdout:
            sys.stderr.buffer.write(b"[%d] " % i + line)
            sys.stderr.buffer.flush()

    thread = threading.Thread(target=lines, daemon=True)
    thread.start()
    return thread


def _say(text: str) -> None:
    print(f"local.py: {text}", file=sys.stderr, flush=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        usage="local.py -n N [--devices=D] [--grace=S] -- train --config=FILE --workdir=DIR …",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-n", type=int, required=True, metavar="N", help="processes")
    parser.add_argument("--devices", type=int, metavar="D", help="virtual CPU devices of each")
    # jaxcnn itself ends within 60 seconds after another process is gone.
    grace = "seconds from the first failure until the other processes are killed (default: 90)"
    parser.add_argument("--grace", type=float, default=90, metavar="S", help=grace)
    parser.add_argument("command", nargs="+", metavar="ARGUMENT", help="of jaxcnn")
    given = parser.parse_args(arguments)
    for name in ("n", "devices"):
        if (value := getattr(given, name)) is not None and value < 1:
            parser.error(f"{name}={value} must be at least 1")
    return given


if __name__ == "__main__":
    sys.exit(main())
