"""Plain English: banned words, and first lines of docstrings that say what a function does.

The convention, for `graphs` and `hyperctr`:

* The first line of a docstring is a verb and its object: "Number ids from 0", "Return ...", "Build ...". It has at most
  25 words. A class or a property may be a noun phrase: "A batch of rows to score."
* Every public function, method and class has a docstring, except `forward` of a layer that its class explains.
* Rates have "per": "one vector per hypergraph", never "one vector a hypergraph".
* The words of `BANNED` appear in no docstring, no comment and no text (a string literal of two or more words), and not
  in README.md, docs/ and the notebooks.

A public name has no leading underscore. The "first line" is the first paragraph up to its first full stop or colon.
"""

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(
    path.relative_to(ROOT).as_posix() for package in ("graphs", "hyperctr") for path in (ROOT / package).rglob("*.py")
)

BANNED = (
    *("anew", "whoever", "whatever", "so many", "worn", "wears", "lies", "told", "owed", "ere", "the very"),
    r"(?:one|a) \w+ (?:a|an) \w+",  # "one vector a hypergraph": write "per"
)
BANNED_WORDS = re.compile(rf"\b(?:{'|'.join(BANNED)})\b", re.IGNORECASE)

# Names in files that old runs left, and sentences that the last pattern finds by mistake: exact and short.
ALLOWED = (
    "worn.safetensors",  # the weights inside a wrapper, in the run folders of old runs
    "`worn`",
)

LONGEST = 25  # words of a first line
VERBS = """
    abort accept accumulate adapt add adjust advance align allocate allow answer append apply approximate arrange ask
    assemble assert assign attach attend audit average backpropagate balance batch bin bind bound branch break bring
    broadcast bucket build cache calculate call cap carry cast change check choose claim clamp clean clear clip close
    cluster coarsen collapse collect colour combine compare compile complete compose compress compute concatenate
    configure connect consume continue convert convolve copy correct count cover create cross cut cycle deal decay
    decide declare decode dedupe define delete derive describe detach detect digest discard display distribute divide
    download draw drop dump embed emit empty encode end enlarge ensure enter erase estimate evaluate evolve examine
    exclude execute expand explain export express extend extract factorise fail fetch fill filter find finish fit
    flatten flush fold follow forget format forward freeze fuse gather generate get give go group grow guess halve
    handle hash hide ignore import include index infer initialise insert inspect interpolate invert iterate join judge
    keep label lay learn leave let lift limit link list load locate lock log look lower make map mark mask match measure
    merge minimise mix move multiply mutate name narrow normalise note notify number observe offer open order
    overwrite pack pad pair parse pass permute pick place plan plot point pool predict prepare print project
    propagate protect prove prune put quote raise rank rate read rebuild receive recompute record reduce refuse
    regroup reject release remove rename render renew reorder repeat replace report require rescale reserve reset
    reshape resolve restore resume return reuse reverse rewind rewrite rotate round route run sample save say scale
    scan scatter score search see seed select send separate serialise serve set shape share shift show shrink shuffle
    sketch skip slice smooth solve sort split spread squeeze stack standardise start state stop store stream strip
    subsample subtract suggest sum summarise support swap switch take tell test throw tile time tokenize track train
    transform translate transpose traverse trim truncate try tune turn unpack unroll update use validate vary verify
    visit wait walk warn watch weigh weight widen wrap write yield zero zip
"""


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Every docstring, comment and text of a source file with its line, whitespace made single."""
    block, last = [], 0  # comments on lines of their own, one below the other, are read as one
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, text = token.start[0], token.string.lstrip("#: ")
        own_line = token.line.lstrip().startswith("#")
        if block and not (own_line and line == last + 1):
            yield last, " ".join(block)
            block = []
        block.append(text)
        last = line if own_line else 0
        if not own_line:
            yield line, block.pop()
    if block:
        yield last, " ".join(block)
    for line, text in _literals(ast.parse(source)):
        text = " ".join(text.split())
        if " " in text:
            yield line, text


def _literals(node: ast.AST) -> Iterator[tuple[int, str]]:
    """The string literals below a node; the values inside an f-string become "{}"."""
    if isinstance(node, ast.JoinedStr):
        yield node.lineno, "".join(x.value if isinstance(x, ast.Constant) else "{}" for x in node.values)
        for value in node.values:
            if isinstance(value, ast.FormattedValue):
                yield from _literals(value.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, node.value
    else:
        for child in ast.iter_child_nodes(node):
            yield from _literals(child)


def banned(source: str) -> list[str]:
    """The banned words of a source file, one line each."""
    found = []
    for line, text in texts(source):
        text = _without_allowed(text)
        found += [f"{line}: {x[0]!r} in {text[max(0, x.start() - 40) : x.end() + 40]!r}" for x in _matches(text)]
    return found


def _without_allowed(text: str) -> str:
    for allowed in ALLOWED:
        text = text.replace(allowed, "{}")
    return text


def _matches(text: str) -> Iterator[re.Match[str]]:
    at = 0
    while match := BANNED_WORDS.search(text, at):  # overlapping: "a row a batch a day"
        yield match
        at = match.start() + 1


def wrong_first_lines(source: str) -> list[str]:
    """The public names of a source file whose docstring is missing or starts badly, one line each."""
    wrong = []

    def visit(node: ast.Module | ast.ClassDef) -> None:
        for child in node.body:
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            if child.name.startswith("_"):
                continue
            is_class = isinstance(child, ast.ClassDef)
            noun = is_class or any(_decorator(x) in ("property", "cached_property") for x in child.decorator_list)
            complaint = _complaint(ast.get_docstring(child), noun)
            if complaint and not (child.name == "forward" and ast.get_docstring(child) is None):
                wrong.append(f"{child.lineno} {child.name}: {complaint}")
            if is_class:
                visit(child)

    visit(ast.parse(source))
    return wrong


def _decorator(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _complaint(docstring: str | None, noun: bool) -> str:
    if not docstring:
        return "no docstring"
    first = " ".join(docstring.split("\n\n")[0].split())
    words = re.split(r"(?<!Eq)(?<!Eqs)[.:;](?= |$)", first)[0].split()
    if len(words) > LONGEST:
        return f"{len(words)} words in the first line, at most {LONGEST}: {' '.join(words)!r}"
    if not noun and (words[0].strip(",").lower() not in VERBS.split() or words[1:2] == ["of"]):
        return f"starts with {words[0]!r}, not with a verb of VERBS and its object: {' '.join(words)!r}"
    return ""


@pytest.mark.parametrize("check", [banned, wrong_first_lines])
def test_plain_english(check):
    wrong = [f"{file}:{x}" for file in FILES for x in check((ROOT / file).read_text(encoding="utf-8"))]
    assert not wrong, "\n" + "\n".join(wrong)


def paragraphs() -> Iterator[tuple[str, str]]:
    """The paragraphs of the README, of docs/ and of the notebooks' texts, each with its file."""
    for file in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        yield from ((file.name, x) for x in re.split(r"\n\s*\n|\n- |\n\|", file.read_text(encoding="utf-8")))
    for file in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                yield from ((file.name, x) for x in "".join(cell["source"]).split("\n\n"))


def test_documents_are_in_plain_english():
    wrong = []
    for name, text in paragraphs():
        text = _without_allowed(" ".join(text.split()))
        wrong += [f"{name}: {match[0]!r} in {text[:60]!r}" for match in _matches(text)]
    assert not wrong, "\n" + "\n".join(wrong)


def test_the_glossary_names_files_that_exist():
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    named = re.findall(r"→ `([^`]+)`", text)
    assert len(named) > 20 and [name for name in named if not (ROOT / name).exists()] == []


SOURCE = '''
"""What the others\nwore, anew."""
# a bonus that lies behind
# the very edge
raise ValueError("no" f"thing {x} as told {f'so many {y}'}")  # one row a day a user
call("worn", "worn.safetensors of old runs", "a row a user", 'A batch, a day')
'''


def test_banned_words_are_found():
    assert [x.split(" in ")[0] for x in banned(SOURCE)] == [
        "5: 'lies'",
        "5: 'the very'",
        "6: 'one row a day'",
        "6: 'a day a user'",
        "2: 'anew'",
        "6: 'told'",
        "6: 'so many'",
        "7: 'a row a user'",
    ]


@pytest.mark.parametrize(
    "docstring, right",
    [
        ("Return the rows: as many as there are.", True),
        ("Return " + 24 * "x " + ". And more.", True),
        ("Return " + 25 * "x " + ".", False),
        ("The rows.", False),
        ("What rows there are.", False),
        ("Rows per user.", False),
        ("Number of rows.", False),
        ("Number the rows.", True),
        ("Eq. 5.", False),
        ("", False),
    ],
)
def test_a_first_line_is_a_verb_and_its_object(docstring, right):
    assert (wrong_first_lines(f'def rows():\n    "{docstring}"') == []) is right
    assert wrong_first_lines(f'def _rows():\n    "{docstring}"') == []


def test_a_class_and_a_property_may_be_nouns():
    source = 'class A:\n    "Rows."\n    @property\n    def x(self):\n        "Rows."\n'
    assert wrong_first_lines(source) == []
    assert len(wrong_first_lines(source + "    def y(self):\n        'Rows.'\n    def forward(self): pass\n")) == 1
