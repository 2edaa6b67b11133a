"""The README tells the truth: its Python runs, and the commands it names exist."""

import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import polars as pl
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


# --- every command, on small data ------------------------------------------------------------------------------------

QUICK = {
    "--seeds 3": "--seeds 1", "--depth 0,1,3": "--depth 1", "--every 7d,30d,90d": "--every 30d",
    "bench table4": "bench table4 --rows 'popularity,no graph'",
    "bench aqcl-table2": "bench aqcl-table2 --rows popularity,DIN",
}  # fmt: skip
"""What is made shorter; nothing else is changed but the number of epochs and the sizes of models."""
SHORT = ["train.epochs=1", "train.batch_size=256", "evaluate.negatives=10", "evaluate.valid_negatives=10"]
SETTABLE = {"train", "sweep", "search", "bench"}


def small_ratings(home: Path) -> None:
    """Write made-up ratings in the layout of ML-100K, under its name: 40 users, 60 films, seven months."""
    rng, rows, folder = np.random.default_rng(0), 2_500, home / "ml-100k"
    folder.mkdir(parents=True)
    user, item = rng.integers(160, 200, rows), rng.integers(280, 340, rows)
    time = 875_000_000 + np.sort(rng.integers(0, 210 * 86_400, rows))
    rating = 1 + (rng.random(rows) * 2 + 2 * ((user + item) % 2) + 0.8).astype(int)
    log = {"user_id": user, "item_id": item, "timestamp": time, "rating": rating}
    pl.DataFrame(log).write_parquet(folder / "interactions.parquet")
    films = np.arange(280, 340)
    genres = np.where(films % 2, "Comedy|Drama", "Action")
    table = {"item_id": films, "title": [f"Film {film}" for film in films], "genres": genres}
    pl.DataFrame(table).write_parquet(folder / "items.parquet")
    people = np.arange(160, 200)
    table = {"user_id": people, "gender": np.where(people % 2, "F", "M"), "age": people % 50, "occupation": people % 7}
    pl.DataFrame(table).write_parquet(folder / "users.parquet")


def small_log(file: Path) -> None:
    """Write a log of one's own: impressions with the columns that the README names."""
    rng, rows = np.random.default_rng(1), 1_500
    user, item, hour = rng.integers(30, size=rows), rng.integers(40, size=rows), rng.integers(24, size=rows)
    clicked = (rng.random(rows) < 0.3 + 0.3 * ((user + item) % 2)).astype(int)
    table = {"uid": user, "vid": item, "ts": 1_700_000_000 + 600 * np.arange(rows), "clicked": clicked, "hour": hour}
    pl.DataFrame(table | {"device": np.where(hour % 3, "phone", "desk")}).write_csv(file)


def test_every_command_runs_on_small_data_in_the_order_of_the_page(tmp_path, monkeypatch, hyperctr):
    pytest.importorskip("optuna", reason="`hyperctr search` of the README is not run: Optuna is not installed")
    text = readme()
    for whole, short in QUICK.items():
        assert whole in text, f"QUICK shortens {whole!r}, which the README does not have"
        text = text.replace(whole, short)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYPERCTR_DATA", str(tmp_path / "home"))
    small_ratings(tmp_path / "home")
    small_log(tmp_path / "clicks.csv")
    (line, run), *_ = blocks(text, "toml")
    assert "[model]" in run, f"the first TOML block, line {line}, is a run file"
    Path("run.toml").write_text(run)
    failed = []
    for words in commands(text):
        if words == ["demo"]:
            continue
        given = [*words, *(["--trials", "2"] if words[0] == "search" else [])]
        if words[0] in ("bench", "search"):
            given.append("--no-referees")  # which the sweep of the page runs
        if words[0] in SETTABLE:
            given += [part for key in SHORT for part in ("--set", key)]
        code, out, err = hyperctr(*given)
        # a study's claim, and a check of random data, may well fail
        if code > (words[0] == "bench" or words[:2] == ["data", "check"]) or "Traceback" in err:
            failed.append(f"hyperctr {shlex.join(given)}: {code}\n{err[-600:]}")
    assert not failed, "\n".join(failed)
    made = ["runs/first/report.json", "scored.csv", "sweep/report.md", "why.png", "graphs-30d", "users.json", "shop"]
    assert [name for name in made if not Path(name).exists()] == []


def test_the_roles_it_shows_are_roles():
    from hyperctr.data import roles

    shown = [code for _, code in blocks(readme(), "toml") if "[interactions]" in code]
    assert len(shown) == 1 and roles.parse(tomllib.loads(shown[0]), "README")
