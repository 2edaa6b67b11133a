"""Digests stay as they are: those of old runs are recognised, a new key changes none, a changed default does."""

import json
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path

import pytest

from hyperctr import config, models
from hyperctr.runs import digest as digests
from hyperctr.runs.digest import INTRODUCED, digest

RUNS = Path(__file__).resolve().parents[2] / "golden" / "runs"
INTRODUCED_WITH = Path(__file__).with_name("introduced.json")
OLD = {
    "dcn-v1": "154198ca3986",
    "dcn": "585246cde128",
    "deepfm": "e14a7bea55fd",
    "dien": "5f33fc6f3d15",
    "din-aqcl": "68546b6970db",
    "din-deepmcp": "afd805e97dbf",
    "din-derived": "0a4e35483b62",
    "din-dmr": "09a83468f3b4",
    "din-dropoutnet": "0481536cbadd",
    "din-icl": "e41dd6665c61",
    "din-lt4rec": "941c18ef372a",
    "din-qcl": "2efc654b19b3",
    "din": "bf949618d149",
    "dmf": "1741ec233e70",
    "dupn": "73028056c802",
    "esmm": "e10b3de79b3c",
    "fm": "fbf67f105326",
    "gru4rec": "4abbbad30dfa",
    "hyperctr-aqcl": "86fee86c12d4",
    "hyperctr-clusters": "d97efae16119",
    "hyperctr-gcn": "1392cadfc15a",
    "hyperctr-lt4rec": "c9a383d51a0d",
    "hyperctr-random": "da976af1f293",
    "hyperctr-shown": "517483c0b9a4",
    "hyperctr": "777ac40301c7",
    "lr": "0a068d98e87b",
    "lt4rec-cycle": "53b64e7340ee",
    "lt4rec-joint": "00dcd496a5e0",
    "lt4rec": "924ccb93424c",
    "marn-clicked": "575ab615a294",
    "marn": "9715e8905a37",
    "mf": "487c44161dfd",
    "mian-fields": "568d78ec9e40",
    "mian": "616e668c85b2",
    "mmoe": "75c1629909c6",
    "mmss": "d427d03c4bb0",
    "naml": "2a96385f9c3b",
    "popularity": "b2336cd877f0",
    "shared_bottom-conversion": "bf7fc98f20eb",
    "shared_bottom": "500200657f66",
    "wide_deep": "72942125f54a",
    "xdeepfm": "7a26055fc6ae",
    "youtubenet": "70935cde42f5",
}
"""The digests that version 0.1 gave to the runs of tests/golden/runs."""


@pytest.mark.parametrize("name", OLD)
def test_a_digest_of_version_0_1_is_recognised(name):
    run = config.read_run(RUNS / f"{name}.toml")
    assert digest(run) == OLD[name] != digest(replace(run, train=replace(run.train, lr=0.5)))
    assert digest(config.read_run(config.to_tables(run))) == OLD[name]


@pytest.fixture
def make(monkeypatch):
    """Read a run of a model whose Config has the dataclass fields given."""

    def make(model="toy", /, set=(), **defaults):
        body = {"__annotations__": {key: type(x) for key, x in defaults.items()}, **defaults}
        cls = dataclass(frozen=True, kw_only=True)(type("Config", (), body))
        monkeypatch.setitem(models.MODELS, model, type("Toy", (), {"Config": cls}))
        return config.read_run({"data": {"path": "x"}, "model": {"name": model}}, set)

    return make


def test_a_new_key_changes_no_digest_and_its_value_does(make):
    before = digest(make(dim=4))
    assert digest(make(dim=4, rate=0.5)) == before
    assert digest(make(dim=4, rate=0.5, set=["model.rate=0.7"])) != before


def test_a_default_that_is_changed_later_changes_the_digest(make, monkeypatch):
    before = digest(make(dim=4, rate=0.5))
    monkeypatch.setitem(INTRODUCED, "model.toy.rate", 0.5)
    assert digest(make(dim=4, rate=0.7)) != before
    assert digest(make(dim=4, rate=0.7, set=["model.rate=0.5"])) == before


def test_a_key_that_goes_at_its_default_changes_no_digest(make):
    assert digest(make(dim=4)) == digest(make(dim=4, rate=0.5, set=["model.rate=0.5"]))


def test_a_run_of_keys_that_version_0_1_knew_has_its_digest(make, monkeypatch):
    as_then = ["evaluate.met=no", "evaluate.first=among"]
    unknown = digest(make(dim=4, set=as_then))
    monkeypatch.setitem(digests.KEYS_0_1, "model.toy", "dim")
    known = digest(make(dim=4, set=as_then))
    assert known != unknown and digest(make(dim=4, rate=0.5, set=as_then)) == known != digest(make(dim=4))
    stated = digest(make(dim=4, rate=0.5, set=["model.rate=0.7", *as_then]))
    assert stated != known and stated == digest(make(rate=0.5, dim=4, set=["model.rate=0.7", *as_then]))


def test_a_whole_file_of_version_0_1_has_the_candidates_of_that_version(tmp_path):
    """It states every key of [evaluate] that there was, but not `met` and `first`; a file of one's own does not."""
    old = {"negatives": 20, "draw": "uniform", "max_positives": 50, "valid_negatives": 9, "valid_positives": 0}
    tables = {"data": {"path": "x"}, "model": {"name": "din"}}
    own = config.read_run(tables | {"evaluate": old}).evaluate
    assert (own.met, own.first) == ("auto", "apart")
    whole = old | {"seed": 3}
    found = config.read_run(tables | {"evaluate": whole})
    assert (found.evaluate.met, found.evaluate.first) == ("no", "among") and "met" not in whole
    assert config.read_run(config.to_tables(found)) == found
    assert config.read_run(tables | {"evaluate": old}, ["evaluate.seed=3"]).evaluate.met == "auto"
    assert config.read_run(tables | {"evaluate": whole}, ["evaluate.met=auto"]).evaluate.met == "auto"
    (tmp_path / "run.toml").write_text('[data]\npath = "x"\n\n[model]\nname = "din"\n\n[evaluate]\nseed = 3\n')
    written = digests.read_written(tmp_path / "run.toml").evaluate
    assert (written.met, written.first, written.seed) == ("no", "among", 3)


def test_equal_runs_have_equal_digests(make):
    run = make(dim=4, rate=0.5, set=["model.rate=2"])
    assert digest(replace(run, train=config.Train(lr=2.0))) == digest(replace(run, train=config.Train(lr=2)))


def test_a_written_run_file_that_lacks_a_key_is_of_a_run_without_it(tmp_path, make, monkeypatch):
    """A run file of one's own takes today's default; one that a run wrote knew no such key."""
    run = make(dim=4, rate=0.7)
    text = config.to_toml(run).replace("rate = 0.7\n", "")
    assert "rate" not in text
    (tmp_path / "run.toml").write_text(text)
    monkeypatch.setitem(INTRODUCED, "model.toy.rate", 0.5)
    assert digests.read_written(tmp_path / "run.toml").model.rate == 0.5
    assert config.read_run(tmp_path / "run.toml") == run
    (tmp_path / "run.toml").write_text(config.to_toml(run))
    assert digests.read_written(tmp_path / "run.toml") == run


def settings():
    """Every dataclass of a run file, by its table and the name in it."""
    found = {name: cls for name, cls in config.TABLES.items() if cls}
    found |= {f"model.{name}": cls.Config for name, cls in models.MODELS.items()}
    return found | {f"wrapper.{name}": cls.Config for name, cls in models.WRAPPERS.items()}


def test_what_a_key_was_introduced_with_is_known():
    """A default may change: then INTRODUCED says what it was. A key that goes is `retired`. A new key is added here."""
    found = {}
    for table, cls in settings().items():
        for entry in fields(cls):
            default = entry.default if entry.default_factory is MISSING else entry.default_factory()
            if default is not MISSING:
                found[f"{table}.{entry.name}"] = INTRODUCED.get(f"{table}.{entry.name}", default)
        found |= {f"{table}.{key}": default for key, (default, _) in getattr(cls, "retired", {}).items()}
    assert json.loads(json.dumps(found)) == json.loads(INTRODUCED_WITH.read_text()), "see introduced.json"


RETIRED = [(table, key) for table, cls in settings().items() for key in getattr(cls, "retired", {})]


@pytest.mark.parametrize(("table", "key"), RETIRED)
def test_a_key_that_went_is_accepted_at_its_old_default_alone(table, key):
    table, _, name = table.partition(".")
    tables = {"data": {"path": "x"}, "model": {"name": "din"}, table: {"name": name}}
    bare = config.read_run(tables)
    default, why = settings()[f"{table}.{name}"].retired[key]
    assert config.read_run(tables | {table: {"name": name, key: default}}) == bare
    with pytest.raises(ValueError, match=rf"{table}.{key} is no setting any more: {why}; it can only be "):
        config.read_run(tables | {table: {"name": name, key: 77}})
