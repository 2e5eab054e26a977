"""One flipped bit anywhere in a run's checkpoints: found and named, never taken for the run's state.

`make test-faults` tries 1,000; tests/train/test_seal.py a few.
"""

import collections
import os
import random
import shutil

import jax
import pytest

from jaxcnn.errors import UserError
from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.saved_run import load_state
from jaxcnn.train.start import train
from tests.train.runs import as_numpy, is_same

FLIPS = int(os.environ.get("FLIPS", 1000))


def run_with_checkpoints(config, data, path):
    """The state at each checkpoint of a run, and what it is like, with shapes and shardings."""
    config.checkpoint.every = "15 steps"
    train(config, path, dataset=data)
    states, like = {}, None
    for kind in ("latest", "best"):
        for step in Checkpoints(path / "checkpoints" / kind, keep=0, read_only=True).steps():
            state = load_state(path, str(step))
            states[step] = as_numpy(state)
            like = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding),
                state,
            )
    return states, like


def flip_a_bit(directory, chance):
    """Flips a random bit below a directory: of any byte, or of any file, as metadata are small."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.stat().st_size)
    sizes = [file.stat().st_size for file in files]
    (file,) = chance.choices(files, sizes if chance.random() < 0.5 else None)
    content, bit = bytearray(file.read_bytes()), chance.randrange(8 * file.stat().st_size)
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)
    return file.relative_to(directory)


def outcome(directory, like, states, log):
    """What came of restoring the newest checkpoint in a directory: a word for the table."""
    log.clear()
    newest = max(int(path.name) for path in directory.iterdir())
    checkpoints = Checkpoints(directory, keep=2)
    try:
        restored = checkpoints.restore_newest(like)
    except UserError as error:
        return "refused" if "\n" not in str(error) else "refused at length"
    finally:
        checkpoints.close()
    state, notes = restored
    step = int(state.step)
    if not is_same(as_numpy(state), states[step]) or set(notes) < {"seconds", "reactions", "data"}:
        return "SILENTLY WRONG"
    if step == newest:
        return "whole"
    assert f"checkpoint {directory / str(newest)} is damaged" in log.text
    return "the one before it"


def outcomes_of_flips(count, config, data, folder, log):
    """What came of each of so many flips in the latest checkpoints or the best one."""
    states, like = run_with_checkpoints(config, data, folder / "run")
    chance, table = random.Random(0), collections.Counter()
    for number in range(count):
        kind = chance.choice(("latest", "best"))
        copy = folder / f"{kind} {number}"
        shutil.copytree(folder / "run" / "checkpoints" / kind, copy)
        where = flip_a_bit(copy, chance)
        found = outcome(copy, like, states, log)
        if found == "SILENTLY WRONG":
            print(f"silently wrong: {kind}, {where}")
        table[found] += 1
        shutil.rmtree(copy)
    return table


@pytest.mark.timeout(3600)
def test_no_flipped_bit_is_silent(small_config, blobs, tmp_path, caplog):
    table = outcomes_of_flips(FLIPS, small_config, blobs, tmp_path, caplog)
    print(f"\n{FLIPS} flips: {dict(table)}")
    assert table.keys() <= {"whole", "the one before it", "refused"}
    assert sum(table.values()) == FLIPS
