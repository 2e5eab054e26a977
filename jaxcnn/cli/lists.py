"""jaxcnn optimizers, schedules and configs: lists of the available names."""

import argparse
import fnmatch
import json
import textwrap

from jaxcnn.cli.flags import add_command, import_named, takes_imports, takes_pattern
from jaxcnn.errors import UserError, suggestion


def add_commands(commands) -> None:
    for name, function in (("optimizers", _optimizers), ("schedules", _schedules)):
        description = f"list the {name}: definition, source, settings"
        parser = add_command(commands, name, function, description)
        takes_pattern(parser, "ada*")
        parser.add_argument("--json", action="store_true", help="print JSON")
        takes_imports(parser)
    parser = add_command(commands, "configs", _configs, "list the configs that come with jaxcnn")
    takes_pattern(parser, "digits*")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _optimizers(arguments: argparse.Namespace) -> None:
    import_named(arguments)
    from jaxcnn.optim.optimizers import OPTIMIZERS

    _list(OPTIMIZERS, arguments)


def _schedules(arguments: argparse.Namespace) -> None:
    import_named(arguments)
    from jaxcnn.optim.schedules import SCHEDULES

    _list(SCHEDULES, arguments)


def _list(registry, arguments: argparse.Namespace) -> None:
    """Prints the matching entries of a registry: description, settings and defaults."""
    names = fnmatch.filter(registry.names(), arguments.pattern)
    if not names:
        raise UserError(
            f"no {registry.kind}'s name matches {arguments.pattern!r}; "
            f"{suggestion(arguments.pattern, registry.names())}"
        )
    if arguments.json:
        listed = [
            {"name": name, "about": registry.about(name), "settings": registry.settings(name)}
            for name in names
        ]
        print(json.dumps(listed, indent=2))
        return
    for name in names:
        print(f"{name:<29}{registry.about(name)}")
        if settings := registry.settings(name):
            line = ", ".join(f"{key}={value!r}" for key, value in settings.items())
            print(textwrap.indent(textwrap.fill(line, 80), " " * 29))


def _configs(arguments: argparse.Namespace) -> None:
    from jaxcnn.config.files import shipped_configs, summary_of

    configs = shipped_configs()
    names = fnmatch.filter(configs, arguments.pattern)
    if not names:
        raise UserError(
            f"no config's name matches {arguments.pattern!r}; {suggestion(arguments.pattern, configs)}"
        )
    listed = [
        {"name": name, "about": summary_of(configs[name]), "file": str(configs[name])}
        for name in names
    ]
    if arguments.json:
        print(json.dumps(listed, indent=2))
        return
    width = max(map(len, names)) + 2
    lines = [f"{config['name']:<{width}}{config['about']}" for config in listed]
    comparisons = [line for line in lines if line.startswith("ablations/")]
    blocks = ["\n".join(line for line in lines if line not in comparisons)]
    if comparisons:
        blocks.append("\n".join(["Comparisons, for jaxcnn sweep:", *comparisons]))
    print("\n\n".join(filter(None, blocks)))
