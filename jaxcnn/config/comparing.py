"""The differences between two configs."""

from collections.abc import Mapping


def differences(old: Mapping, new: Mapping, prefix: str = "config") -> list[str]:
    """The settings that differ between two resolved configs, as lines 'config.a.b: old → new'."""
    lines = []
    for key in sorted({*old, *new}):
        path = f"{prefix}.{key}"
        if isinstance(old.get(key), Mapping) and isinstance(new.get(key), Mapping):
            lines += differences(old[key], new[key], path)
        elif old.get(key, "unset") != new.get(key, "unset"):
            lines.append(f"{path}: {old.get(key, 'unset')!r} → {new.get(key, 'unset')!r}")
    return lines
