"""Files appear whole or not at all, and a folder has one writer at a time."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from hyperctr import files
from hyperctr.files import append_csv, atomic, claim_folder, read_csv, replace_folder, save_tensors, write_csv


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_keeps_its_old_content_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "made" / "report.json"
    files.write_text(path, "old é")
    with pytest.raises(RuntimeError), atomic(path) as part:
        part.write_text("half")
        assert part.parent == path.parent and part.suffix == ".json" and str(os.getpid()) in part.name
        raise RuntimeError
    assert path.read_text(encoding="utf-8") == "old é" and names(path.parent) == ["report.json"]
    files.write_bytes(path, b"new")
    assert path.read_bytes() == b"new" and names(path.parent) == ["report.json"]


def test_a_file_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot write .*file/report.json: "):
        files.write_text(tmp_path / "file" / "report.json", "")


def test_lines_of_csv_are_appended_under_the_columns_of_all(tmp_path):
    path = tmp_path / "history.csv"
    assert read_csv(path) == []
    append_csv(path, {"epoch": 1, "auc": 0.5})
    append_csv(path, {"epoch": 2, "auc": float("nan"), "note": 'a "b",\nc'})
    assert path.read_text().startswith("epoch,auc,note\n1,0.5,\n2,nan,")
    assert read_csv(path) == [
        {"epoch": "1", "auc": "0.5", "note": ""},
        {"epoch": "2", "auc": "nan", "note": 'a "b",\nc'},
    ]
    write_csv(path, [{"x": float("nan")}, {"x": 1}])
    assert read_csv(path) == [{"x": ""}, {"x": "1"}]
    write_csv(tmp_path / "none.csv", [])
    assert names(tmp_path) == ["history.csv"]


def test_tensors_are_written_with_their_texts(tmp_path):
    save_tensors(tmp_path / "weights.safetensors", {"w": torch.arange(6).view(2, 3).T}, {"epoch": "3"})
    with safe_open(tmp_path / "weights.safetensors", framework="pt") as file:
        assert file.metadata() == {"epoch": "3"} and file.get_tensor("w").tolist() == [[0, 3], [1, 4], [2, 5]]
    assert names(tmp_path) == ["weights.safetensors"]


def made(path):
    return replace_folder(path, "index.json", lambda name: name.endswith(".npz"), "the test", begins="{")


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "graphs"
    for content in ("{1}", "{2}"):
        with made(path) as part:
            (part / "index.json").write_text(content)
            (part / "0.npz").touch()
    with pytest.raises(RuntimeError), made(path) as part:
        (part / "index.json").write_text("{3}")
        raise RuntimeError
    assert (path / "index.json").read_text() == "{2}" and names(tmp_path) == ["graphs"]
    (tmp_path / "empty").mkdir()
    with made(tmp_path / "empty") as part:
        (part / "index.json").write_text("{}")
    assert names(tmp_path / "empty") == ["index.json"]


@pytest.mark.parametrize(
    ("holds", "says"),
    [
        ({"index.json": "{}", "thesis.txt": ""}, "contains thesis.txt, which was not written by the test"),
        ({"0.npz": ""}, "was not written by the test"),
        ({"index.json": "x"}, "was not written by the test"),
    ],
)
def test_a_folder_of_another_kind_is_not_replaced(tmp_path, holds, says):
    (tmp_path / "a").mkdir()
    for name, content in holds.items():
        (tmp_path / "a" / name).write_text(content)
    with (
        pytest.raises(ValueError, match=f"a is already there and {says}; choose another folder or remove it"),
        made(tmp_path / "a"),
    ):
        pass
    assert names(tmp_path / "a") == sorted(holds)


def test_links_files_and_nameless_paths_are_not_replaced(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    for path, says in ((tmp_path / "link", "is a link"), (tmp_path / "file", "is no folder"), ("..", "has no name")):
        with pytest.raises(ValueError, match=says), made(path):
            pass


CLAIM = """
import sys, time
from hyperctr.files import claim_folder
with claim_folder(sys.argv[1]):
    print("claimed", flush=True)
    time.sleep(60)
"""


def claiming(folder):
    """Start a process that claims a folder and keeps it."""
    process = subprocess.Popen([sys.executable, "-c", CLAIM, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "claimed\n"
    return process


def test_a_second_process_is_refused_in_one_line_and_a_killed_one_gives_the_folder_up(tmp_path):
    process = claiming(tmp_path / "run")
    try:
        with pytest.raises(ValueError) as error:
            claim_folder(tmp_path / "run")
        assert str(error.value) == (
            f"another process is writing to {tmp_path / 'run'}: wait until it ends, or choose another --out"
        )
        with claim_folder(tmp_path / "other"):
            pass
        (tmp_path / "run" / f".{process.pid}.report.json").touch()  # half a file
        process.send_signal(signal.SIGKILL)
        process.wait()
        with claim_folder(tmp_path / "run"):
            assert names(tmp_path / "run") == [".lock"]
    finally:
        process.kill()
        process.wait()
    assert names(tmp_path / "run") == [] == names(tmp_path / "other")


def test_a_claim_ends_with_its_block_also_by_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(RuntimeError), claim_folder(tmp_path / "run"):
            with pytest.raises(ValueError, match="another process is writing"):
                claim_folder(tmp_path / "run")
            raise RuntimeError


def test_a_lock_file_that_its_owner_removes_after_it_was_opened_here_is_not_locked(tmp_path, monkeypatch):
    lock, opened = files._locked, []

    def locked(file):
        if not opened:
            (tmp_path / "run" / ".lock").unlink()  # the owner ends between our opening and our locking
        opened.append(file)
        return lock(file)

    monkeypatch.setattr(files, "_locked", locked)
    with claim_folder(tmp_path / "run"):
        assert len(opened) == 2 and names(tmp_path / "run") == [".lock"]
        with pytest.raises(ValueError, match="another process is writing"):
            claim_folder(tmp_path / "run")


def test_a_file_system_without_locks_has_nobody_to_refuse(tmp_path, monkeypatch):
    import fcntl

    def flock(file, how):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with claim_folder(tmp_path / "run"):
        pass


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot write to .*run: "):
        claim_folder(tmp_path / "file" / "run")


def test_writing_files_loads_no_torch():
    script = "import sys, hyperctr.files, hyperctr.strict; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "False\n"


def test_json_has_null_for_what_it_cannot_hold_and_old_files_are_read(tmp_path):
    value = {
        "auc": float("nan"),
        "high": np.float32("inf"),
        "rows": np.int64(3),
        4: (np.array([0.5, -np.inf]), Path("a")),
    }
    assert json.loads(files.to_json(value), parse_constant=pytest.fail) == {
        "auc": None, "high": None, "rows": 3, "4": [[0.5, None], "a"],
    }  # fmt: skip
    files.write_json(tmp_path / "new.json", value)
    assert files.read_json(tmp_path / "new.json")["rows"] == 3
    (tmp_path / "old.json").write_text('{"auc": NaN}')
    assert math.isnan(files.read_json(tmp_path / "old.json")["auc"])
    for text in ('{"auc": ', "[" * 10**5):
        (tmp_path / "cut.json").write_text(text)
        with pytest.raises(ValueError, match="cut.json is damaged, it is no report: "):
            files.read_json(tmp_path / "cut.json", "report")
    with pytest.raises(ValueError, match="cannot read .*none.json: No such file"):
        files.read_json(tmp_path / "none.json")
