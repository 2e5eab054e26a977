"""What a run relies on changes under it: the clock, the images, the cache of compiled programs.

Needs a C compiler: clock.c is preloaded into the process. `make test-faults`.
"""

import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.faults.command import CONFIG, compiled, differences, finish, start

pytestmark = pytest.mark.timeout(3600)
DAY = 24 * 3600


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("surroundings")
    (path / "config.py").write_text(CONFIG)
    assert finish(start(path / "config.py", "host", path / "whole")).code == 0
    return path


@pytest.mark.parametrize("jump", [DAY, -DAY, 3650 * DAY, -3650 * DAY])
def test_the_clock_jumps(folder, jump):
    """Soon after the start, and once the run has taken its steps for a while."""
    library = compiled("clock", folder)
    for after in (1, 6):
        run = folder / f"{jump} after {after}"
        clock = {"LD_PRELOAD": str(library), "CLOCK_JUMP": str(jump), "CLOCK_AFTER": str(after)}
        first = start(folder / "config.py", "host", run, FAULT="SIGSTOP step", **clock)
        wait_until_stopped(first)
        second = finish(start(folder / "config.py", "host", run))
        assert second.code == 1, second.output
        assert "is in use by process" in second.output
        first.send_signal(signal.SIGCONT)
        end = finish(first)
        assert end.code == 0, end.output
        assert "Traceback" not in end.output
        assert differences(run, folder / "whole") == []


def test_damaged_compiled_programs_are_compiled_again(folder):
    """Every file of the cache has a changed byte, or is cut, or empty."""
    whole, chance = folder / "cache", random.Random(0)
    end = finish(start(folder / "config.py", "host", folder / "caching", **cached_in(whole)))
    assert end.code == 0, end.output
    assert len(programs(whole)) > 5
    for number in range(12):
        cache, run = folder / f"cache {number}", folder / f"damaged cache {number}"
        shutil.copytree(whole, cache)
        for file in programs(cache):
            content = bytearray(file.read_bytes())
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            cut = chance.choice((0, len(content) // 2, len(content), len(content)))
            file.write_bytes(content[:cut])
        end = finish(start(folder / "config.py", "host", run, **cached_in(cache)))
        assert end.code == 0, (number, end.output[-3000:])
        assert differences(run, folder / "whole") == []


def test_images_that_change_or_vanish(folder):
    """A run ends in a line, refuses other images, and goes on once its own are back."""
    images, away = folder / "images", folder / "away"
    make_images(images)
    settings = ["--config.data.source=folder", f"--config.data.root={images}"]
    config, whole, run = folder / "config.py", folder / "whole of images", folder / "run of images"
    assert finish(start(config, "host", whole, *settings)).code == 0

    vanishing = start(config, "host", folder / "vanishing", *settings, FAULT="SIGSTOP step")
    wait_until_stopped(vanishing)
    images.rename(away)
    vanishing.send_signal(signal.SIGCONT)
    assert_refused(finish(vanishing), "No such file")
    away.rename(images)
    assert finish(start(config, "host", folder / "vanishing", *settings)).code == 0
    assert differences(folder / "vanishing", whole) == []

    assert finish(start(config, "host", run, *settings, FAULT="SIGKILL evaluation")).code == -9
    images.rename(away)
    assert_refused(finish(start(config, "host", run, *settings)), str(images))
    shutil.copytree(away, images)
    Image.fromarray(np.zeros((12, 12), np.uint8)).save(images / "train" / "a" / "3.png")
    assert_refused(finish(start(config, "host", run, *settings)), "have changed")
    shutil.rmtree(images)
    away.rename(images)
    assert finish(start(config, "host", run, *settings)).code == 0
    assert differences(run, whole) == []


def assert_refused(end, said):
    assert end.code == 1, end.output
    line = end.output.strip()
    assert line.startswith("jaxcnn: error:"), end.output
    assert said in line
    assert "\n" not in line


def cached_in(path):
    """The variables by which a command takes this folder for its cache."""
    return {"XDG_CACHE_HOME": str(path), "JAX_COMPILATION_CACHE_DIR": str(path / "jax")}


def programs(cache):
    return sorted(path for path in cache.rglob("*") if path.is_file())


def wait_until_stopped(process):
    stat = Path(f"/proc/{process.pid}/stat")
    while stat.read_text().rpartition(")")[2].split()[0] != "T":
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


def make_images(root):
    rng = np.random.default_rng(0)
    for split, count in (("train", 200), ("test", 20)):
        for name in "ab":
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (12, 12)).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
