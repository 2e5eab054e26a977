"""What a compiled program needs, read off the program."""

import jax
import jax.numpy as jnp
import pytest

from jaxcnn.diagnose.programs import Needs, Traffic, collectives

pytestmark = pytest.mark.fast


def test_collectives_in_a_text():
    text = """
  %all-reduce.1 = f32[64]{0:T(128)S(1)} all-reduce(%x), channel_id=1, to_apply=%sum
  %all-reduce.2 = (f32[8,16]{1,0}, bf16[4]{0}) all-reduce(%x, %y), channel_id=2
  %all-reduce-start.3 = s32[]{:T(128)} all-reduce-start(%z), channel_id=3
  %all-reduce-done.3 = s32[]{:T(128)} all-reduce-done(%all-reduce-start.3)
  %all-gather-start = (f32[2,3]{1,0}, f32[8,3]{1,0}) all-gather-start(%w), channel_id=4
  %all-gather-done = f32[8,3]{1,0} all-gather-done(%all-gather-start)
  ROOT %reduce-scatter = pred[5]{0} reduce-scatter(%v), channel_id=5
  %fusion = f32[1]{0} fusion(%all-reduce.1), metadata={op_name="all-reduce(x)"}
"""
    assert collectives(text) == {
        "all-gather": Traffic(1, 8 * 3 * 4),
        "all-reduce": Traffic(3, 64 * 4 + 8 * 16 * 4 + 4 * 2 + 4),
        "reduce-scatter": Traffic(1, 5),
    }


def test_needs_of_a_program():
    a = jax.ShapeDtypeStruct((64, 32), jnp.float32)
    b = jax.ShapeDtypeStruct((32, 16), jnp.float32)
    needs = Needs.of(jax.jit(jnp.matmul).lower(a, b).compile())
    assert needs.flop == 2 * 64 * 32 * 16
    assert needs.arguments == 4 * (64 * 32 + 32 * 16)
    assert needs.outputs == 4 * 64 * 16
    assert needs.total >= needs.arguments + needs.outputs
    assert needs.collectives == {}
    assert needs.to_json()["flop"] == needs.flop
