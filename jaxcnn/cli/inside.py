"""jaxcnn picture: what a trained network computes, as a picture."""

import argparse
import inspect

from jaxcnn.cli.flags import add_command, path_of, refuse, takes_run
from jaxcnn.cli.pictures import require_png
from jaxcnn.cli.runs import image_files, load_run_of
from jaxcnn.errors import UserError


def add_commands(commands) -> None:
    parser = add_command(
        commands, "picture", _picture, "draw filters, feature maps, saliency, … of a trained run"
    )
    parser.add_argument(
        "kind",
        metavar="KIND",
        help="filters, feature_maps, maximisation, patches, saliency or augmentations",
    )
    parser.add_argument(
        "images",
        nargs="*",
        type=path_of("IMAGE"),
        metavar="IMAGE",
        help="of feature_maps and saliency, as jaxcnn predict takes (default: of a split)",
    )
    takes_run(parser)
    parser.add_argument("--layer", help="stem, stage1, … (default: the first map, or the last)")
    parser.add_argument(
        "--units", type=_numbers, metavar="N,N,…", help="of the layer (default: the first)"
    )
    parser.add_argument("--split", help="whose images (default: test; of patches, train)")
    parser.add_argument("--count", type=int, help="images, or patches of each unit")
    parser.add_argument("--out", type=path_of("--out"), metavar="FILE", help="default: KIND.png")


def _numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise UserError(f"--units={text} must be numbers, e.g. 0,3,7") from None


def _picture(arguments: argparse.Namespace) -> None:
    from jaxcnn.diagnose.inside.table import KINDS
    from jaxcnn.errors import check_choice
    from jaxcnn.plots.saving import save

    kind = arguments.kind
    check_choice("picture", kind, KINDS)
    out = arguments.out or f"{kind}.png"
    require_png(out)
    names = ("images", "layer", "units", "split", "count")
    given = {name: getattr(arguments, name) for name in names}
    given = {name: value for name, value in given.items() if value not in (None, [])}
    for name in given.keys() - inspect.signature(KINDS[kind]).parameters.keys():
        refuse(True, f"{'IMAGE' if name == 'images' else f'--{name}'} does not go with {kind}")
    for name in ("split", "count") if arguments.images else ():
        refuse(name in given, f"--{name} chooses images of the data; IMAGE files take their place")
    refuse(given.get("count", 1) < 1, f"--count={arguments.count} must be at least 1")
    run = load_run_of(arguments)
    if arguments.images:
        given["images"] = image_files(arguments.images)
    save(KINDS[kind](run, **given), out)
    print(f"{kind} of {run.config.model.name}, step {run.step:,}: {out}")
