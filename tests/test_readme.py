"""The README tells the truth: its Python runs, and the commands it names exist."""

import re
import shlex
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"


def blocks(text: str, *languages: str) -> list[tuple[int, str]]:
    """Fenced code blocks in these languages: line number of the first line of code, and the code."""
    fence = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)
    found = [(m[1], text[: m.start(2)].count("\n") + 1, m[2]) for m in fence.finditer(text)]
    return [(line, code) for language, line, code in found if language in languages]


def commands(text: str) -> list[list[str]]:
    """The words of each `hyperctr ...` line in console and shell blocks; lines ending in a backslash are joined."""
    found = []
    for _, code in blocks(text, "console", "sh", "bash", "shell"):
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line.strip().removeprefix("$ "), comments=True)
            if words and Path(words[0]).name == "hyperctr":
                found.append(words[1:])
    return found


def readme() -> str:
    if not README.exists():
        pytest.skip("there is no README.md")
    return README.read_text(encoding="utf-8")


def unknown_words(words: list[str], command) -> list[str]:
    """Subcommands and options of a command line that the Typer app does not have."""
    options = set()
    while True:
        options |= {name for p in command.params for name in [*p.opts, *p.secondary_opts]} | {"--help"}
        subcommands = getattr(command, "commands", None)
        if not subcommands or not words or words[0].startswith("-"):
            break
        if words[0] not in subcommands:
            return [words[0]]
        command, words = subcommands[words[0]], words[1:]
    return [word for word in words if re.match(r"--?[a-z]", word) and word.split("=")[0] not in options]


def test_python_blocks_run_in_order(tmp_path, monkeypatch):
    text = readme()
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "readme"}
    for line, code in blocks(text, "python"):
        exec(compile("\n" * (line - 1) + code, str(README), "exec"), namespace)


def test_every_command_it_names_exists():
    text = readme()
    cli = pytest.importorskip("hyperctr.cli.main", reason="there is no command line yet")
    import typer

    app = typer.main.get_command(cli.app)
    wrong = {" ".join(words): unknown_words(words, app) for words in commands(text)}
    assert {line: words for line, words in wrong.items() if words} == {}


def test_every_hyperctr_line_of_a_shell_block_is_found():
    text = "```console\n$ hyperctr demo  # fast\nresult 1\n```\n```sh\n.venv/bin/hyperctr sweep \\\n  --data x\n```\n"
    text += "```python\nhyperctr\n```\n"
    assert commands(text) == [["demo"], ["sweep", "--data", "x"]]
    assert blocks(text, "python") == [(10, "hyperctr\n")]


def test_a_command_or_option_that_does_not_exist_is_found():
    import typer

    app = typer.Typer()
    data = typer.Typer()

    @app.command()
    def demo(sweep: bool = False, depth: str = typer.Option("1", "--depth", "-d")): ...

    @data.command("list")
    def list_them(): ...

    app.add_typer(data, name="data")
    command = typer.main.get_command(app)
    assert unknown_words(["demo", "--sweep", "-d", "3", "--depth=2"], command) == []
    assert unknown_words(["data", "list", "--help"], command) == []
    assert unknown_words(["demo", "--swep"], command) == ["--swep"]
    assert unknown_words(["data", "lst"], command) == ["lst"]
    assert unknown_words(["dmo"], command) == ["dmo"]
