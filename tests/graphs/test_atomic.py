"""A file or folder is replaced as a whole or not at all."""

import os

import pytest

from graphs.atomic import replaced


def write(part, content):
    part.write_text(content)


def write_folder(part, content):
    part.mkdir()
    (part / "a").write_text(content)


def read(path):
    return (path / "a" if path.is_dir() else path).read_text()


@pytest.mark.parametrize("write", [write, write_folder])
def test_the_new_one_takes_the_place_of_the_old_one(tmp_path, write):
    path = tmp_path / "x"
    for content in ("old", "new"):
        with replaced(path) as part:
            write(part, content)
            assert not path.exists() or read(path) == "old"
        assert read(path) == content and os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("write", [write, write_folder])
def test_an_error_leaves_what_was_there(tmp_path, write, there):
    path = tmp_path / "x"
    if there:
        write(path, "old")
    with pytest.raises(KeyboardInterrupt), replaced(path) as part:
        write(part, "half")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["x"] * there and (not there or read(path) == "old")


def test_a_rename_that_fails_brings_the_old_folder_back(tmp_path, monkeypatch):
    write_folder(tmp_path / "x", "old")

    def refuse(source, target):
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="no space"), replaced(tmp_path / "x") as part:
        write_folder(part, "new")
    assert read(tmp_path / "x") == "old" and os.listdir(tmp_path) == ["x"]


def test_a_file_never_replaces_a_folder(tmp_path):
    write_folder(tmp_path / "x", "precious")
    with pytest.raises(OSError), replaced(tmp_path / "x") as part:
        part.write_text("a file")
    assert read(tmp_path / "x") == "precious" and os.listdir(tmp_path) == ["x"]
