"""A few mutated files over all readers; `python benchmarks/fuzz.py` runs thousands."""

import warnings

import pytest

from benchmarks import fuzz

READERS = fuzz.readers()


@pytest.mark.filterwarnings("ignore")
def test_mutated_files_end_well_or_in_one_line():
    names = list(READERS)
    found = {number: fuzz.case(READERS[names[number % len(names)]], 11, number) for number in range(3 * len(names))}
    wrong = [f"{names[number % len(names)]}, case {number}: {x[1]}" for number, x in found.items() if x[0] == "wrong"]
    assert not wrong, "\n".join(wrong)
    assert {outcome for outcome, _ in found.values()} == {"read", "refused"}


def test_the_files_themselves_are_read():
    for name, reader in READERS.items():
        assert fuzz.case(reader, 0, 0, times=0) == ("read", ""), name


def test_every_kind_of_wrong_is_seen(capfd):
    def crash(home, out):
        raise KeyError("valid_auc")

    def many_lines(home, out):
        raise ValueError("one\ntwo")

    def leave(home, out):
        out.mkdir(parents=True)
        raise ValueError("refused")

    def change(home, out):
        (home / "a.csv").write_text("changed")

    def speak(home, out):
        warnings.warn("panicked", stacklevel=1)
        fuzz.os.write(2, b"thread panicked")

    for read, words in [
        (crash, "KeyError"), (many_lines, "one"), (leave, "left behind"), (change, "was changed"), (speak, "stderr"),
    ]:  # fmt: skip
        outcome, said = fuzz.case(({"a.csv": b"a,b\n1,2\n"}, read), 0, 0)
        assert outcome == "wrong" and words in said
    assert capfd.readouterr().err == ""
