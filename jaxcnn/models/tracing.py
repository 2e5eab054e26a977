"""The operations of a traced network: which layer they are of, and what they apply."""

from collections.abc import Collection, Sequence

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

# Primitives that apply an inner jaxpr to their inputs.
_CALLS = (
    "jit",
    "pjit",
    "closed_call",
    "custom_jvp_call",
    "custom_vjp_call",
    "checkpoint",
    "remat2",
)


def called(eqn: JaxprEqn) -> ClosedJaxpr | None:
    """The program that an equation applies to its inputs, as a jitted function does; or None."""
    if eqn.primitive.name not in _CALLS:
        return None
    programs = [value for value in eqn.params.values() if isinstance(value, Jaxpr | ClosedJaxpr)]
    return programs[0] if isinstance(programs[0], ClosedJaxpr) else ClosedJaxpr(programs[0], ())


def layer_at(scope: Sequence[str], modules: Collection[tuple[str, ...]]) -> tuple[str, ...] | None:
    """The layer of an operation in named scopes: a module with parameters, or else a scope."""
    path: tuple[str, ...] = ()
    # The first scope is the model's class. Methods add scopes such as `block.branch`, `nn.Conv`
    # repeats its name, and an einsum adds its formula.
    for part in scope[1:]:
        if "." not in part and "->" not in part and path[-1:] != (part,):
            path = (*path, part)
        if path in modules:
            return path
    is_part_of_a_module = any(module[: len(path)] == path for module in modules)
    return None if is_part_of_a_module else path
