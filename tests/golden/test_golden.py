"""Tiny runs of every model, what they wear, a sweep and a study of each paper: they give what they gave before.

golden.json holds the numbers of each run's report, sum and norm of every weight, and SHA-256 digests of weights and
test scores. On the processor, torch and numpy that it was made with, every bit must be equal; on others, numbers are
compared with a tolerance and digests are not: `-rP` shows which comparison was made.

The run files in runs/ state every key, so that no changed default changes them; they keep the spelling of the day when
they were written, since old files must be read. They name their data from the folder worlds/.

`python tests/golden/renew.py` writes golden.json anew. The rule: a later change that must renew a digest says why in
its commit message.
"""

import golden_runs as golden
import pytest


@pytest.fixture(scope="module")
def known():
    return golden.golden()


@pytest.mark.parametrize("name", golden.names())
def test_a_run_gives_what_it_gave(name, known, tmp_path):
    golden.compare(name, known["runs"][name], golden.make_run(name, tmp_path / "run"))


@pytest.mark.parametrize("name", golden.TABLES)
def test_a_sweep_or_study_gives_what_it_gave(name, known, tmp_path):
    golden.compare(name, known["tables"][name], golden.make_table(name, tmp_path / "table"))


@pytest.mark.parametrize("preset", golden.PRESETS)
def test_a_planted_world_is_what_it_was(preset, known):
    golden.compare(preset, known["worlds"][preset], golden.make_world(preset))


def test_nothing_golden_is_left_out(known):
    assert (set(known["runs"]), set(known["tables"])) == (set(golden.names()), set(golden.TABLES))
    assert set(known["worlds"]) == set(golden.PRESETS)


def test_every_model_and_whatever_it_wears_has_a_run():
    made = [golden.read_run(golden.RUNS / f"{name}.toml") for name in golden.names()]
    assert {run.model_name for run in made} == {*golden.MODELS, *golden.REFEREES}
    assert {run.wrapper_name for run in made} - {""} == set(golden.WRAPPERS)
