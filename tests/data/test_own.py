"""Own questions from files of every kind, split by story, and everything that is wrong with them named by line."""

from __future__ import annotations

import csv
import gzip
import json
import random
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import pytest

from dmnplus.data.example import DataError, Example, Fact, Picture, Source
from dmnplus.data.own import (
    KINDS_OF_FILE,
    OwnFile,
    Row,
    divide,
    iter_contradictions,
    number_stories,
    read_own,
    require,
    shared_stories,
)

GOOD = {"facts": ["Anna left.", "Ben stayed."], "question": "Who left?", "answer": "Anna", "supporting": [0]}
EXAMPLE = Example(
    facts=("Anna left.", "Ben stayed."), question="Who left?", answer=("Anna",), supporting=(0,), source=Source("", 1)
)


# Numbers of the stories that validate and test, by seed.
HOUSEHOLD = (
    ({11, 16, 19, 43, 46}, {1, 22, 27, 39, 47}),
    ({12, 25, 33, 44, 9}, {16, 24, 42, 46, 6}),
    ({1, 30, 42, 45, 50}, {10, 17, 18, 8, 9}),
)


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def only(path: Path) -> Example:
    (row,) = require(read_own(path)).rows
    return row.example


def same(found: Example, expected: Example) -> bool:
    return all(
        getattr(found, name) == getattr(expected, name) for name in ("facts", "question", "answer", "supporting")
    )


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".tsv"])
def test_packed_files(tmp_path: Path, ending: str):
    between = "\t" if ending == ".tsv" else ","
    table = between.join(("facts", "question", "answer", "supporting")) + "\n"
    table += between.join(("Anna left. Ben stayed.", "Who left?", "Anna", "0")) + "\n"
    path = tmp_path / f"a{ending}.gz"
    path.write_bytes(gzip.compress((json.dumps(GOOD) if ending == ".jsonl" else table).encode()))
    assert same(only(path), EXAMPLE)
    assert ending in KINDS_OF_FILE


def test_one_question_is_not_called_several(tmp_path: Path):
    path = write(tmp_path / "a.jsonl", GOOD)
    with pytest.raises(DataError, match=": 1 question about one story, of which"):
        divide(read_own(path))
    path = write(tmp_path / "b.jsonl", "{", "[]")
    with pytest.raises(DataError, match="1 more problem: see"):
        require(read_own(path))


def test_json_lines(tmp_path: Path):
    later = {**GOOD, "facts": "Anna left. Ben stayed.", "group": 7, "split": "dev"}
    path = write(tmp_path / "a.jsonl", {**GOOD, "split": "train"}, "", later)
    first, second = require(read_own(path)).rows
    assert same(first.example, EXAMPLE)
    assert same(second.example, EXAMPLE)
    assert second.example.source == Source(str(path), 3)
    assert (second.group, second.split) == ("7", "valid")


def test_csv(tmp_path: Path):
    (tmp_path / "a b.png").touch()
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["facts", "question", "answer", "supporting", "images", "group"])
        writer.writerow(["Anna left.\nBen stayed.", "Who left?", "Anna", "0", "", "x"])
        writer.writerow(['["Anna left.", "Ben stayed."]', "Who left?", "Anna", "1; 0", "a b.png", ""])
    first, second = require(read_own(path)).rows
    assert same(first.example, EXAMPLE)
    assert first.group == "x"
    # A cell of two lines: the second row begins on line 4.
    assert second.example.source.line == 4
    assert second.example.facts == (Picture(str(tmp_path / "a b.png")), *EXAMPLE.facts)
    assert second.example.supporting == (1, 0)


def test_a_text_in_csv_may_begin_with_a_bracket(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("facts,question,answer\n[Laughs.] Anna left.,Who left?,Anna\n")
    assert require(read_own(path)).rows[0].example.facts == ("[Laughs.] Anna left.",)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("Anna left.; Ben stayed.", ("Anna left.", "Ben stayed.")),
        ("Anna left;Ben stayed", ("Anna left", "Ben stayed")),
        ("Anna left. Ben stayed.; Carl came!;", ("Anna left.", "Ben stayed.", "Carl came!")),
        ("[Laughs.];Anna left.", ("[Laughs.]", "Anna left.")),
        # Prose, in which a semicolon stands within a sentence.
        ("Anna left; she was tired. Ben stayed.", ("Anna left; she was tired.", "Ben stayed.")),
    ],
)
def test_lists_between_semicolons_in_csv(tmp_path: Path, text: str, facts: tuple[str, ...]):
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [("facts", "question", "answer", "supporting"), (text, "Who?", "Anna; the boy;", "1;0")]
        )
    example = only(path)
    assert example.facts == facts
    assert example.answer == ("Anna", "the", "boy")
    assert example.supporting == (1, 0)


def test_accents_are_one_however_they_are_typed(tmp_path: Path):
    typed, composed = "Rene\u0301e", "Ren\u00e9e"
    row = {"facts": [f"{typed} left."], "question": f"Is {typed} here?", "answer": typed}
    example = only(write(tmp_path / "a.jsonl", row))
    assert (example.facts, example.question, example.answer) == (
        (f"{composed} left.",),
        f"Is {composed} here?",
        (composed,),
    )
    assert only(write(tmp_path / "a.jsonl", {**row, "facts": f"{typed} left."})).facts == example.facts


def test_parquet(tmp_path: Path):
    arrow = pytest.importorskip("pyarrow", reason='needs pip install "dmnplus[own]"')
    import pyarrow.parquet

    table = arrow.Table.from_pylist([GOOD, {**GOOD, "split": None, "supporting": None}])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    first, second = require(read_own(tmp_path / "a.parquet")).rows
    assert same(first.example, EXAMPLE)
    assert second.example.supporting == ()
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="is not readable as Parquet"):
        read_own(tmp_path / "b.parquet")


def test_a_dataset_saved_to_disk(tmp_path: Path):
    arrow = pytest.importorskip("pyarrow", reason='needs pip install "dmnplus[own]"')
    # As `datasets.DatasetDict.save_to_disk` writes it.
    for split in ("train", "test"):
        folder = tmp_path / split
        folder.mkdir()
        table = arrow.Table.from_pylist([GOOD] * 2)
        with (
            arrow.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as sink,
            arrow.ipc.new_stream(sink, table.schema) as stream,
        ):
            stream.write_table(table)
        (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    rows = require(read_own(tmp_path)).rows
    assert [(row.split, row.example.source.line) for row in rows] == [
        ("train", 1),
        ("train", 2),
        ("test", 3),
        ("test", 4),
    ]
    assert all(same(row.example, EXAMPLE) for row in rows)
    assert len(require(read_own(tmp_path / "test")).rows) == 2
    (tmp_path / "test" / "state.json").unlink()
    with pytest.raises(DataError, match="damaged dataset"):
        read_own(tmp_path)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("the living room.", ("the", "living", "room")),
        ("milk, football", ("milk", "football")),
        (["milk", "football"], ("milk", "football")),
        (3, ("3",)),
        ("?", ("?",)),
        ("1,000", ("1,000",)),
    ],
)
def test_answers_are_words(tmp_path: Path, answer: object, words: tuple[str, ...]):
    assert only(write(tmp_path / "a.jsonl", {**GOOD, "answer": answer})).answer == words


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"facts": []}, "has neither facts nor images"),
        ({"facts": None}, "has neither facts nor images"),
        ({"facts": 3}, "facts are 3; they must be a list of sentences, or one text"),
        ({"facts": ["Anna left.", ""]}, "facts [1] is ''; it must be a sentence, or a picture"),
        ({"facts": [{"picture": "no.png"}]}, "facts [0] names no.png, and no such file"),
        ({"images": "no.png"}, "images [0] names no.png, and no such file"),
        ({"images": [{"bytes": "x", "path": None}]}, "save the pictures as files"),
        ({"question": " "}, "question is empty"),
        ({"question": None}, "has no question"),
        ({"answer": ""}, "answer is empty"),
        ({"answer": []}, "answer is empty"),
        ({"answer": ["a", ""]}, "answer has an empty word"),
        ({"answer": True}, "answer is True; it must be a word"),
        ({"supporting": [2]}, "supporting names fact 2, and there are 2, counted from 0"),
        ({"supporting": [-1]}, "supporting names fact -1"),
        ({"supporting": [0, 0]}, "it names a fact twice"),
        ({"supporting": ["0"]}, "supporting holds '0'; it takes places of facts"),
        ({"regions": [{"fact": 0, "box": [0, 0, 1, 1]}]}, "regions name fact 0, which is no picture"),
        ({"split": "later"}, "split is 'later'; it takes train, valid or test"),
        ({"group": [1]}, "group is [1]; it must be a text or a number"),
        ({"answer": float("nan")}, "answer is nan, which is no number"),
        ({"answer": [float("-inf")]}, "answer is -inf, which is no number"),
        ({"answer": "nan"}, None),
        ({"facts": ["Anna \ud83d left."]}, "has half of a character ('\\ud83d')"),
        ({"question": "Who \udc00?"}, "has half of a character"),
        ({"\ud83d": 1}, "has half of a character"),
        ({"question": "Who \U0001f600?"}, None),
        ({"images": "x" * 300}, "images cannot be read (File name too long)"),
        ({"facts": [{"picture": "x" * 300}]}, "facts cannot be read (File name too long)"),
        ({"facts": [{"picture": "x\0.png"}]}, "facts [0] names"),
        ({"suporting": [0]}, None),
        ({"grup": "x"}, "the column 'grup' is not known; did you mean 'group'?"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, change: dict, problem: str | None):
    file = read_own(write(tmp_path / "a.jsonl", GOOD, {**GOOD, **change}))
    assert [row.example.source.line for row in file.rows] == [1] + [2] * (problem is None)
    if problem is None:
        # Beside the right column it is one that nobody reads, and said to be so.
        assert [*file.ignored] == [name for name in change if name not in GOOD]
    else:
        (found,) = file.problems
        assert found.startswith(f"{file.path}:2: ")
        assert problem in found


def test_every_bad_line_is_named(tmp_path: Path):
    path = write(
        tmp_path / "a.jsonl",
        "{",
        GOOD,
        "[]",
        {"facts": [], "question": 3},
        '{"answer": 1, "answer": 2}',
        {**GOOD, "split": "test"},
    )
    file = read_own(path)
    lines = [problem.removeprefix(f"{path}:").partition(":")[0] for problem in file.problems]
    # Line 2 is whole, but has no split, and another row has one; line 4 lacks three things.
    assert sorted(lines) == ["1", "2", "3", "4", "4", "4", "5"]
    with pytest.raises(DataError, match=r"a\.jsonl:1: is not JSON.*more problems: see `dmnplus data check"):
        require(file)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("facts,question,answer\na,b\n", "2: has 2 cells, and the first line names 3 columns"),
        ('facts,question,answer\na,b,c\n"a,b,c\n', "3: cannot be read from here on"),
        ("facts,question,answer\n\"['Anna left.'\n 'Ben stayed.']\",b,c\n", "2: facts is a list, and not in JSON"),
    ],
)
def test_broken_csv(tmp_path: Path, text: str, problem: str):
    path = tmp_path / "a.csv"
    path.write_text(text)
    assert any(found.startswith(f"{path}:{problem}") for found in read_own(path).problems)


@pytest.mark.parametrize(
    ("column", "cell", "problem"),
    [
        ("facts", "[" * 5000, "facts is nested too deeply"),
        ("facts", '["\\ud83d"]', "facts has half of a character"),
        ("facts", '[{"picture": "a", "picture": "b"}]', "facts has 'picture' twice"),
        ("supporting", "9" * 5000, "supporting holds '9999"),
        ("supporting", f"[{'9' * 5000}]", "supporting Exceeds the limit"),
    ],
)
def test_bad_cells_are_named(tmp_path: Path, column: str, cell: str, problem: str):
    good = {"facts": "Anna left.", "question": "Who?", "answer": "Anna", "supporting": "0"}
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, good)
        writer.writeheader()
        writer.writerows([good, {**good, column: cell}, good])
    read = read_own(path)
    assert [row.example.source.line for row in read.rows] == [2, 4]
    (found,) = read.problems
    assert found.startswith(f"{path}:3: {problem}")
    assert len(found) < 500


def test_lines_nested_too_deeply_are_named(tmp_path: Path):
    path = write(tmp_path / "a.jsonl", GOOD, "[" * 100_000)
    assert read_own(path).problems == [f"{path}:2: is nested too deeply"]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.jsonl", None, "no such file"),
        ("a.jsonl", b"", "is empty"),
        ("a.jsonl", b"\xff\xfe{", "not UTF-8"),
        ("a.txt", b"x", "is not a .jsonl, .csv, .tsv "),
        ("a.csv", b"facts,question\nx,y\n", "'answer' is not there"),
        ("a.csv", b"facts,facts\nx,y\n", "has the column 'facts' twice"),
    ],
)
def test_no_such_data(tmp_path: Path, name: str, content: bytes | None, problem: str):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=problem):
        read_own(tmp_path / name)
    with pytest.raises(DataError, match="no Hugging Face dataset is saved in it"):
        read_own(tmp_path)


def row(*facts: str, group: str = "", answer: str = "yes", line: int = 1) -> Row:
    return Row(Example(facts=facts, question="Well?", answer=(answer,), source=Source("f", line)), group)


def test_stories():
    rows = [
        row("a", "b"),
        row("a", "b"),
        row("c", group="x"),
        row("d", group="x"),
        # A story told on without a group is the same story; with a group, the group says.
        row("a", "b", "c"),
        row("d", "e", group="y"),
        row("e"),
    ]
    assert number_stories(rows) == [0, 0, 1, 1, 0, 2, 3]
    shared = shared_stories({"train": rows[:3], "test": rows[3:]})
    assert shared == ["f:1 (train) and f:1 (test) are about one story"] * 2


def told(*stories: Sequence[Fact], groups: Sequence[str] = ()) -> list[Row]:
    """A row for each of the facts, with these groups."""
    return [
        Row(Example(facts=(*facts,), question="Well?", answer=("yes",), source=Source("f", line)), group)
        for line, (facts, group) in enumerate(zip(stories, groups or [""] * len(stories), strict=True), 1)
    ]


def test_the_order_of_rows_does_not_part_a_story():
    """Of three rows about one story the first two have the same facts, one of them with a group."""
    stories = ((("a",), "g"), (("a",), ""), (("a", "b"), ""))
    for order in permutations(stories):
        assert number_stories(told(*(facts for facts, _ in order), groups=[group for _, group in order])) == [0, 0, 0]
    # A story with a group is told on by its group alone.
    assert number_stories(told(("a",), ("a", "b"), groups=("g", ""))) == [0, 1]


def test_questions_about_one_picture_are_one_story():
    photo, part, other = Picture("in/a.png"), Picture("in/../in/a.png", (0, 0, 0.5, 1)), Picture("in/b.png")
    rows = told((photo, "Monday."), (part, "Tuesday."), (other,), ("Monday.",))
    assert number_stories(rows) == [0, 0, 1, 2]
    # Where there are groups, they say.
    assert number_stories(told((photo, "Monday."), (part, "Tuesday."), groups=("x", "y"))) == [0, 1]
    assert shared_stories({"train": rows[:1], "test": rows[1:]}) == ["f:1 (train) and f:2 (test) are about one story"]


def test_contradictions():
    assert [*iter_contradictions([row("a"), row("a", line=2), row("a", answer="no", line=3)])] == [
        "f:3: answers 'no', and f:1 the same question by 'yes'"
    ]


def stories(tmp_path: Path, count: int = 30) -> Path:
    rows = [
        {**GOOD, "facts": [f"Anna{i} left.", "Ben stayed."], "question": f"Question {j}?"}
        for i in range(count)
        for j in range(1 + i % 4)
    ]
    return write(tmp_path / "stories.jsonl", *rows)


def test_a_story_is_never_on_two_sides_and_a_seed_repeats(tmp_path: Path):
    file = read_own(stories(tmp_path))
    for seed in range(5):
        parts = divide(file, seed=seed)
        told = [{row.example.facts for row in rows} for rows in parts.values()]
        assert all(told)
        assert sum(map(len, told)) == len(set.union(*told)) == 30
        assert sum(map(len, parts.values())) == len(file.rows)
        assert all(len(parts[part]) == pytest.approx(0.1 * len(file.rows), abs=3) for part in ("valid", "test"))
    assert divide(file, seed=1) == divide(file, seed=1) != divide(file, seed=2)
    # The order of the rows does not matter.
    before = {row.example.facts for row in divide(file)["test"]}
    file.rows.reverse()
    assert {row.example.facts for row in divide(file)["test"]} == before


@pytest.mark.parametrize(
    "facts",
    [
        [(Picture(f"in/{i}/rgb.png"),) for i in range(20)],
        [(Picture("in/rgb.png", (i / 20, 0, (i + 1) / 20, 1)),) for i in range(20)],
    ],
)
def test_pictures_of_one_name_are_drawn_whatever_the_order(facts: list[tuple[Fact, ...]]):
    # Groups, as otherwise one picture is one story.
    rows = told(*facts, groups=[f"g{i}" for i in range(20)])
    drawn = {row.example.facts for row in divide(OwnFile(Path("in/f"), rows))["test"]}
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        assert {row.example.facts for row in divide(OwnFile(Path("in/f"), rows))["test"]} == drawn
    # Nor does it matter where the file and its pictures are.
    moved = [
        tuple(Picture(f.path.replace("in/", "out/"), f.box) if isinstance(f, Picture) else f for f in row.example.facts)
        for row in rows
    ]
    found = divide(OwnFile(Path("out/f"), told(*moved, groups=[row.group for row in rows])))["test"]
    assert {str(row.example.facts).replace("out/", "in/") for row in found} == {*map(str, drawn)}


@pytest.mark.parametrize("large", [90, 45])
def test_a_story_that_is_too_large_is_not_held_out(large: int):
    rows = told(*[("Large.",)] * large, *((f"Small {i}.",) for i in range(100 - large)))
    for seed in range(30):
        parts = divide(OwnFile(Path("f"), rows), seed=seed)
        assert all(row.example.facts != ("Large.",) for part in ("valid", "test") for row in parts[part])
        assert 1 <= len(parts["valid"]) <= 10
        assert 8 <= len(parts["test"]) <= 10


def test_of_large_stories_the_smallest_is_held_out():
    rows = told(*((fact,) for fact in "AAAABBBBCCC"))
    for seed in range(10):
        parts = divide(OwnFile(Path("f"), rows), seed=seed)
        assert {part: len(rows) for part, rows in parts.items()} == {"train": 4, "valid": 4, "test": 3}


@pytest.mark.parametrize(("validation_share", "test_share"), [(0.1, 0.1), (0.25, 0.5), (0.4, 0.2)])
def test_shares_are_of_all_questions(validation_share: float, test_share: float):
    rows = told(*((f"Story {i // 2}.",) for i in range(200)))
    parts = divide(OwnFile(Path("f"), rows), validation_share=validation_share, test_share=test_share)
    assert len(parts["test"]) == pytest.approx(200 * test_share, abs=1)
    assert len(parts["valid"]) == pytest.approx(200 * validation_share, abs=1)


def test_as_many_stories_are_held_out_as_come_nearest_to_the_share():
    """Ten questions of a hundred are wanted, from stories of eight: eight are nearer than sixteen."""
    rows = told(*((f"Story {i // 8}.",) for i in range(96)))
    assert len(divide(OwnFile(Path("f"), rows))["test"]) == 8
    # From stories of six: twelve are nearer than six.
    rows = told(*((f"Story {i // 6}.",) for i in range(96)))
    assert len(divide(OwnFile(Path("f"), rows))["test"]) == 12


def test_the_household_is_divided_as_it_was():
    """Documented figures, and the held-out questions of runs that are there, depend on it."""
    file = read_own(Path(__file__).parents[2] / "examples" / "household.jsonl")
    for seed, known in enumerate(HOUSEHOLD):
        parts = divide(file, seed=seed)
        held = ({int(row.group.removeprefix("story ")) for row in parts[part]} for part in ("valid", "test"))
        assert tuple(held) == known


def test_given_splits_and_files_are_kept(tmp_path: Path):
    rows = [{**GOOD, "facts": [f"Fact {i}."], "split": "test" if i > 7 else "train"} for i in range(10)]
    file = read_own(write(tmp_path / "a.jsonl", *rows))
    parts = divide(file)
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 7, "valid": 1, "test": 2}
    assert all(row.split == "test" for row in parts["test"])
    other = read_own(stories(tmp_path, 4))
    parts = divide(file, other, other)
    assert (parts["train"], parts["valid"], parts["test"]) == (file.rows[:8], other.rows, other.rows)


def test_one_story_cannot_be_split(tmp_path: Path):
    with pytest.raises(DataError, match="about one story"):
        divide(read_own(write(tmp_path / "a.jsonl", GOOD, GOOD)))
