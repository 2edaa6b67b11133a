import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from hyperctr.data.formats import FORMATS, find_format
from hyperctr.data.formats.convert import convert
from hyperctr.data.formats.source import Source, completed, in_core, k_core
from hyperctr.data.write import import_log


def test_every_format_has_its_module_address_and_docstring():
    for name, what in FORMATS.items():
        module = find_format(name)
        assert module.HOME.startswith("https://") and callable(module.read) and what
        assert "Source: " in module.__doc__ or "https://" in module.__doc__, name


def test_listing_the_formats_imports_none_of_them():
    code = "import sys; from hyperctr.data.formats import FORMATS; assert 'polars' not in sys.modules, 'polars'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_format_gets_the_nearest(tmp_path):
    with pytest.raises(ValueError, match="unknown format 'amazn', did you mean amazon"):
        convert("amazn", tmp_path, tmp_path / "out")


@pytest.mark.parametrize("name", FORMATS)
def test_a_missing_or_empty_folder_a_pickle_and_an_archive_end_in_one_line(name, tmp_path):
    empty, pickle, archive = tmp_path / "empty", tmp_path / "data.pkl", tmp_path / "data.tar.gz"
    empty.mkdir(), pickle.write_bytes(b"\x80\x04."), archive.write_bytes(b"\x1f\x8b junk")
    for path in (tmp_path / "none", empty, pickle, archive):
        with pytest.raises(ValueError) as raised:
            convert(name, path, tmp_path / "out")
        assert "\n" not in str(raised.value) and len(str(raised.value)) < 500
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_a_k_core_is_what_a_slow_loop_leaves(k):
    rng = np.random.default_rng(0)
    log = pl.DataFrame({"u": rng.integers(0, 60, 330), "i": rng.integers(0, 70, 330)})
    left = log.rows()
    while True:
        kept = [x for x in left if sum(y[0] == x[0] for y in left) >= k and sum(y[1] == x[1] for y in left) >= k]
        if len(kept) == len(left):
            break
        left = kept
    assert left and k_core(log, ["u"], ["i"], k)[0].rows() == left


def test_a_core_takes_the_rows_of_tables_and_matrices_with_it_and_missing_ones_are_added():
    log = pl.DataFrame({"u": [1, 1, 2, 2, 3], "i": [7, 8, 7, 8, 9]})
    items = pl.DataFrame({"i": [9, 8, 5], "name": ["x", "y", "z"]})
    source = Source(
        log, {"interactions": {"user": "u", "item": ["i"]}}, items, modalities={"m": np.array([[9.0], [8], [5]])}
    )
    core = completed(in_core(source, 2))
    assert core.items.rows() == [(8, "y"), (7, None)] and core.modalities["m"].tolist() == [[8], [0]]
    assert core.roles["note"].startswith("2-core: 4 of 5 rows") and "1 item of the log had no row" in core.roles["note"]


def test_import_of_an_own_log_takes_a_core_too(tmp_path):
    source = tmp_path / "shop"
    source.mkdir()
    (source / "interactions.csv").write_text("user,item,time\n1,a,1\n1,b,2\n2,a,3\n2,b,4\n3,c,5\n")
    np.save(source / "visual.npy", np.array([[1.0], [2], [3]]))
    data = import_log(source, tmp_path / "out", k=2)
    assert data.items.ids.tolist() == ["a", "b"] and data.items.modalities["visual"].tolist() == [[1], [2]]
    assert len(data.interactions) == 4 and any("2-core: 4 of 5 rows" in x for x in data.notes)


def test_the_command_imports_and_its_help_lists_the_formats(tmp_path, hyperctr):
    (tmp_path / "a.inter").write_text(
        "user_id:token\titem_id:token\ttimestamp:float\n1\t5\t964982703\n2\t5\t964982704\n"
    )
    code, out, _ = hyperctr("data", "import", tmp_path / "a.inter", "--format", "recbole", "--out", tmp_path / "out")
    assert code == 0 and out.splitlines()[-1] == str(tmp_path / "out")
    code, out, said = hyperctr("data", "import", tmp_path / "a.inter", "--format", "recbol", "--out", tmp_path / "x")
    assert code == 2 and "did you mean recbole" in said
    _, out, _ = hyperctr("data", "import", "--help")
    assert all(f"{name}: " in out for name in FORMATS)
