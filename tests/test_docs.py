"""What README and docs say is so: their commands are understood, their messages are what is said."""

import re
import shlex

import pytest

from jaxcnn import load_config
from jaxcnn.cli.main import _parse
from jaxcnn.compare import load_comparison
from jaxcnn.errors import UserError
from tests.conftest import ROOT

pytestmark = pytest.mark.fast

PAGES = [ROOT / "README.md", ROOT / "launch" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Messages that a page quotes, and settings that cause them.
QUOTED = {
    "README.md": (
        {"optimizer.nmae": "adam"},
        "config.optimizer.nmae: 'nesterov' has no such setting; did you mean 'name'?",
    ),
}


def commands_of(page):
    """The `jaxcnn …` lines of a page's code blocks, those that go on in the next line as one."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    lines = re.sub(r"\s+\\\n\s*", " ", "\n".join(blocks)).splitlines()
    return [line.strip() for line in lines if line.strip().startswith("jaxcnn ")]


COMMANDS = [(page.name, command) for page in PAGES for command in commands_of(page)]


def test_there_are_commands():
    assert len(COMMANDS) > 20


def test_the_table_of_the_readme_has_every_command(capsys):
    with pytest.raises(SystemExit):
        _parse(["--help"], [])
    listed = capsys.readouterr().out.partition("commands:")[2]
    section = (ROOT / "README.md").read_text().partition("## Commands")[2].partition("\n## ")[0]
    table = re.findall(r"^\| `(.*?)` \|", section, re.MULTILINE)
    names = {name for row in table for name in re.findall(r"[\w-]+", row)} - {"jaxcnn"}
    assert names == set(re.findall(r"^  ([\w-]+) ", listed, re.MULTILINE))


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_is_understood(page, command, monkeypatch):
    """Its flags, its config, and the settings that it changes; nothing is run."""
    monkeypatch.chdir(ROOT)
    words = shlex.split(command.replace("…", "x"), comments=True)[1:]
    options = []
    arguments = _parse([word.replace("$seed", "0") for word in words], options)
    config = getattr(arguments, "config", None)
    if not config or config == "x" or "my_parts" in command:
        return
    load = load_comparison if words[0] == "sweep" else load_config
    assert load(config, arguments.overrides)


@pytest.mark.parametrize("page", QUOTED)
def test_a_quoted_message_is_what_is_said(page):
    overrides, quoted = QUOTED[page]
    assert quoted in " ".join((ROOT / page).read_text().split())
    with pytest.raises(UserError) as raised:
        load_config("digits_lenet", overrides)
    assert str(raised.value).startswith(quoted)


def test_links_lead_somewhere():
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_a_wrong_flag_would_be_found():
    with pytest.raises(UserError, match="unknown argument --worrkdir"):
        _parse(["train", "--config=digits_lenet", "--workdir=x", "--worrkdir=y"], [])
