"""A run file is read strictly and written back exactly."""

import math
import re
import tomllib
from dataclasses import dataclass, replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperctr import config, models
from hyperctr.runs.digest import digest
from hyperctr.strict import choices


class Toy:
    @dataclass(frozen=True, kw_only=True)
    class Config:
        """A model's own settings."""

        dim: int = 64
        hidden: tuple[int, ...] = (128, 64)
        dropout: float = 0.2
        gate: bool = False
        isolated: Literal["passthrough", "zero"] = "passthrough"
        limit: int | None = None

        def __post_init__(self):
            if self.dim < 1:
                raise ValueError(f"dim must be at least 1, got {self.dim}")


class Strict:
    @dataclass(frozen=True, kw_only=True)
    class Config:
        """One key without a default."""

        rank: int


@pytest.fixture(autouse=True, scope="module")
def _toys():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "MODELS", {"toy": Toy, "strict": Strict})
        patch.setattr(models, "REFEREES", {})
        patch.setattr(models, "WRAPPERS", {"coat": Coat})
        yield


SMALL = {"data": {"path": "ml-100k"}, "model": {"name": "toy"}}


def read(*changes, source=SMALL):
    return config.read_run(source, changes)


def test_a_file_with_two_keys_gets_every_default(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('[data]\npath = "ml-100k"\n\n[model]\nname = "toy"\n')
    run = config.read_run(path)
    assert run == read()
    assert (run.train.epochs, run.train.lr, run.split.kind, run.slices.every) == (20, 1e-3, "temporal", "30d")
    assert (run.data.history, run.evaluate.max_positives, run.model_name, run.model) == (
        100,
        5_000,
        "toy",
        Toy.Config(),
    )


def test_every_value_is_written():
    assert config.to_toml(read("model.hidden=[8]", "train.l2=0", "data.modalities=['visual']")) == (
        '[data]\npath = "ml-100k"\nhistory = 100\nmodalities = [\n    "visual",\n]\nreduce = 128\ntitles = false\n'
        'past = "none"\n\n'
        '[split]\nkind = "temporal"\ntrain = 0.7\nvalid = 0.2\nseed = 0\n\n'
        '[slices]\nevery = "30d"\ncount = 0\nspan = "slice"\ngraphs = "rolling"\nitem_edges = "interest"\n'
        'augment = [\n    "S1",\n    "S2",\n]\n'
        'target_edge = "exclude"\n\n'
        '[interest]\nmode = "pretrain"\nscore = "trilinear"\ndelta = 0.5\ndelta_mode = "absolute"\nkeep_argmax = true\n'
        "epochs = 5\nnegatives = 20\nweight = 0.1\n\n"
        '[model]\nname = "toy"\ndim = 64\nhidden = [\n    8,\n]\n'
        'dropout = 0.2\ngate = false\nisolated = "passthrough"\n\n'
        '[train]\nepochs = 20\nbatch_size = 512\nlr = 0.001\noptimiser = "adam"\nschedule = "constant"\nwarmup = 0\n'
        "l2 = 0.0\nid_dropout = 0.0\n"
        "patience = 3\neval_every = 1.0\nnegatives = 1\n"
        'clip = 5.0\nseed = 0\nmembers = 1\nthreads = 0\ndevice = "auto"\nprecision = "float32"\nscore = "auc"\n\n'
        '[evaluate]\nnegatives = 100\nsampled = false\ndraw = "uniform"\nmet = "auto"\nfirst = "apart"\n'
        "max_positives = 5000\nvalid_negatives = 20\n"
        "valid_positives = 5000\nseed = 0\nmetrics = []\n"
    )


text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(
    path=text.filter(str.strip),
    modalities=st.lists(text, unique=True, max_size=3),
    lr=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    dropout=st.floats(allow_nan=False),
    limit=st.none() | st.integers(),
    hidden=st.lists(st.integers(), max_size=3),
    seed=st.integers(0, 2**63 - 1),
)
def test_what_is_written_is_read_back_exactly(tmp_path_factory, path, modalities, lr, dropout, limit, hidden, seed):
    model = Toy.Config(dropout=dropout, limit=limit, hidden=tuple(hidden), gate=True, isolated="zero")
    run = replace(
        read(),
        data=config.Data(path=path, modalities=tuple(modalities)),
        train=config.Train(lr=lr, seed=seed),
        model=model,
    )
    written = tmp_path_factory.getbasetemp() / "written.toml"
    written.write_bytes(config.to_toml(run).encode())
    again = config.read_run(written)
    assert again == run
    assert digest(again) == digest(run)
    assert math.copysign(1, again.model.dropout) == math.copysign(1, dropout)


def test_the_digest_is_stable_and_tells_runs_apart():
    assert digest(read()) == digest(read("train.epochs=20")) == "7adec7bcb94e"
    before = ("evaluate.met=no", "evaluate.first=among")
    assert digest(read(*before)) == "d1504b76ccfa"  # the default candidates until met and first came
    before += ("evaluate.negatives=1000", "evaluate.max_positives=20000", "evaluate.valid_negatives=100")
    assert digest(read(*before)) == "9497ce33e3fc"  # the defaults until another evaluation became the default
    assert digest(read("train.epochs=21")) != digest(read())


def test_reading_leaves_the_callers_mapping_alone():
    source = {"data": {"path": "x"}, "model": {"name": "toy"}}
    read("train.lr=1", "model.dim=8", "data.path=y", source=source)
    assert source == {"data": {"path": "x"}, "model": {"name": "toy"}}


def test_an_override_has_toml_syntax_or_is_a_bare_word():
    run = read(
        "train.lr=3e-4",
        "slices.every=7d",
        "model.hidden=[1, 2]",
        "model.gate=true",
        'data.path="a b"',
        "train.clip = 2",
    )
    assert (run.train.lr, run.slices.every, run.model.hidden, run.model.gate) == (3e-4, "7d", (1, 2), True)
    assert (run.data.path, run.train.clip) == ("a b", 2.0)
    assert isinstance(run.train.clip, float)


def test_a_later_override_wins():
    assert read("train.seed=1", "train.seed=2").train.seed == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.epoch=3", "unknown key train.epoch, did you mean train.epochs?"),
        ("train.dim=3", "unknown key train.dim, did you mean model.dim?"),
        ("lr=1", "unknown key lr, did you mean train.lr?"),
        ("seed=1", "unknown key seed, did you mean split.seed or train.seed or evaluate.seed?"),
        (
            "slices.zzz=1",
            "unknown key slices.zzz, "
            "known keys of slices: every, count, span, graphs, item_edges, augment, target_edge",
        ),
        ("trian.lr=1", "unknown table trian, did you mean train?"),
        ("zzz.lr=1", "unknown table zzz, known tables: data, split, slices, interest, model, train, evaluate, wrapper"),
        ("model.dm=1", "unknown key model.dm, did you mean model.dim?"),
        ("model.name=tyo", 'unknown model "tyo", did you mean toy?'),
        ("model.name=3", "unknown model 3, known: toy, strict"),
        ("model.name=strict", "missing key model.rank, it has no default"),
        ("train=3", "train must be a table, [train] with its keys below, got 3"),
        ("train.epochs=2.0", "train.epochs must be a whole number, got 2.0"),
        ("train.epochs=true", "train.epochs must be a whole number, got true"),
        ("train.lr=true", "train.lr must be a number, got true"),
        ("train.lr=fast", 'train.lr must be a number, got "fast"'),
        ("train.lr=1" + "0" * 400, "train.lr must be a number, got 1" + "0" * 400),
        ("slices.every=7", "slices.every must be text in quotes, got 7"),
        ("model.gate=1", "model.gate must be true or false, got 1"),
        ("model.hidden=8", "model.hidden must be a list, each a whole number, got 8"),
        ("model.hidden=[8, 2.5]", "model.hidden[1] must be a whole number, got 2.5"),
        ("model.isolated=one", 'model.isolated must be one of "passthrough", "zero", got "one"'),
        ("model.dim=0", "[model] dim must be at least 1, got 0"),
        ("split.seed=-1", "split.seed must be between 0 and 2^63 - 1, got -1"),
        ("data.ties=no", 'data.ties must be one of "order", got "no"'),
        ("wrapper.name=toy", 'unknown wrapper "toy", known: coat'),
        ("train.lr", "--set wants table.key=value, such as train.lr=3e-4, got 'train.lr'"),
        ("=3", "--set wants table.key=value, such as train.lr=3e-4, got '=3'"),
        ("train.lr=1\nseed=2", 'train.lr must be a number, got "1\\nseed=2"'),
    ],
)
def test_a_mistake_is_named_with_what_would_work(change, message):
    with pytest.raises(ValueError) as error:
        read(change)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "change",
    [
        "data.history=0",
        "data.path=' '",
        "data.modalities=['v','v']",
        "split.train=0",
        "split.train=1.0",
        "split.valid=nan",
        "split.train=0.8",  # leaves no test rows beside valid = 0.2
        "split.seed=-1",
        "slices.every=7x",
        "slices.every=0d",
        "slices.every=30",
        "slices.count=-1",
        "train.epochs=0",
        "train.batch_size=0",
        "train.lr=0",
        "train.lr=inf",
        "train.l2=-1e-9",
        "train.l2=nan",
        "train.patience=0",
        "train.negatives=-1",
        "train.clip=-1",
        "train.seed=9223372036854775808",
        "train.threads=-1",
        "evaluate.negatives=0",
        "evaluate.max_positives=-1",
    ],
)
def test_a_value_out_of_range_is_named_with_its_table(change):
    with pytest.raises(ValueError, match=rf"^{change.split('=')[0]}.* must be .+, got .+"):
        read(change)


def test_missing_names_are_asked_for():
    with pytest.raises(ValueError, match="missing key data.path"):
        config.read_run({"model": {"name": "toy"}})
    with pytest.raises(ValueError, match="missing key model.name, choose one of: toy, strict"):
        config.read_run({"data": {"path": "x"}})


def test_a_file_that_is_missing_or_not_toml_is_named(tmp_path):
    with pytest.raises(ValueError, match="cannot read the run file .*none.toml: No such file"):
        config.read_run(tmp_path / "none.toml")
    with pytest.raises(ValueError, match="cannot read the run file"):
        config.read_run(tmp_path)
    (tmp_path / "bad.toml").write_text("[data]\npath = x\n")
    with pytest.raises(ValueError, match=r"bad.toml is not TOML: .*line 2"):
        config.read_run(tmp_path / "bad.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="bytes.toml is not TOML"):
        config.read_run(tmp_path / "bytes.toml")


class Coat:
    @dataclass(frozen=True, kw_only=True)
    class Config:
        """What a model may wear in training."""

        w: float = 0.05
        alpha: float | None = None
        retired = {"steepness": (2.0, "it is always 2")}

        def __post_init__(self):
            if self.w < 0:
                raise ValueError(f"wrapper.w must be at least 0, got {self.w}")


def test_a_run_wears_nothing_unless_it_says_so():
    bare = read()
    assert bare == read() and (bare.wrapper_name, bare.wrapper) == ("", None)
    assert "wrapper" not in config.to_toml(bare)


def test_what_a_run_wears_is_read_into_its_own_settings_and_written_back():
    run = read("wrapper.name=coat", "wrapper.w=.1")
    assert (run.wrapper_name, run.wrapper) == ("coat", Coat.Config(w=0.1))
    assert config.to_toml(run).endswith('\n\n[wrapper]\nname = "coat"\nw = 0.1\n')
    again = read(source=tomllib.loads(config.to_toml(run)))
    assert again == run and digest(again) == digest(run) != digest(read("wrapper.name=coat"))
    assert read("wrapper.name=coat", "wrapper.alpha=0.3").wrapper.alpha == 0.3
    assert replace(run, wrapper_name="", wrapper=None) == read()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["wrapper.w=0.1"], "missing key wrapper.name, choose one of: coat"),
        (["wrapper.name=cote"], 'unknown wrapper "cote", did you mean coat?'),
        (["wrapper.name=coat", "wrapper.alfa=1"], "unknown key wrapper.alfa, did you mean wrapper.alpha?"),
        (["wrapper.name=coat", "wrapper.dim=1"], "unknown key wrapper.dim, did you mean model.dim?"),
        (["wrapper.name=coat", "wrapper.w=much"], 'wrapper.w must be a number, got "much"'),
        (["wrapper.name=coat", "wrapper.w=-1"], "[wrapper] wrapper.w must be at least 0, got -1.0"),
        (["wear=coat"], 'wrapper must be a table, [wrapper] with its keys below, got "coat"'),
    ],
)
def test_a_mistake_about_what_is_worn_is_named(changes, message):
    with pytest.raises(ValueError) as error:
        read(*changes)
    assert str(error.value) == message


def test_a_key_that_is_no_setting_any_more_is_accepted_at_its_old_default_alone():
    assert read("wrapper.name=coat", "wrapper.steepness=2.0") == read("wrapper.name=coat")
    with pytest.raises(ValueError) as error:
        read("wrapper.name=coat", "wrapper.steepness=3")
    said = "wrapper.steepness is no setting any more: it is always 2; it can only be 2.0, got 3"
    assert str(error.value) == said


def test_the_choices_of_a_key_are_those_of_its_annotation():
    assert choices(config.Slices, "graphs") == ("rolling", "frozen")
    assert choices(config.Data, "ties") == ("order",)
    assert choices(config.Data, "path") == ()
    with pytest.raises(ValueError, match="slices.graphs must be rolling or frozen, got still"):
        config.Slices(graphs="still")


def test_every_split_of_the_data_can_be_named():
    from hyperctr.data.split import KINDS

    assert [read(f"split.kind={kind}").split.kind for kind in KINDS] == list(KINDS)
    with pytest.raises(ValueError, match=re.escape(", ".join(f'"{kind}"' for kind in KINDS))):
        read("split.kind=rnd")


def test_every_field_has_a_line_about_it():
    import ast
    import inspect

    for cls in [cls for cls in config.TABLES.values() if cls] + [config.Run]:
        body = ast.parse(inspect.getsource(cls)).body[0].body
        for entry, below in zip(body, body[1:] + [None], strict=True):
            if isinstance(entry, ast.AnnAssign):
                assert isinstance(below, ast.Expr), f"{cls.__name__}.{entry.target.id}"
