"""Own questions from files of every kind, split by story, and everything that is wrong with them named by line."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from dmnplus.data.example import DataError, Example, Picture, Source
from dmnplus.data.own import (
    KINDS_OF_FILE,
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
        ({"suporting": [0]}, None),
        ({"grup": "x"}, "the column 'grup' is not known; did you mean 'group'?"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, change: dict, problem: str | None):
    file = read_own(write(tmp_path / "a.jsonl", GOOD, {**GOOD, **change}))
    assert [row.example.source.line for row in file.rows] == [1] + [2] * (problem is None)
    if problem is None:
        # Beside the right column it is one that nobody reads, and said to be so.
        assert [*file.ignored] == ["suporting"]
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
