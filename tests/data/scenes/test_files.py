"""Questions on pictures as a file: there and back, whole or not at all, and clear words for what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dmnplus.data.example import DataError, Example, Picture, Source
from dmnplus.data.scenes import generate_scenes, read_scenes, write_scenes

GOOD = {"facts": ["The red things are hot.", {"picture": "a.png"}], "question": "Is it hot?", "answer": ["yes"]}
BOX = [0.25, 0.25, 0.5, 0.5]


def test_questions_come_back(tmp_path: Path) -> None:
    examples = generate_scenes(tmp_path, questions=70, seed=3)
    path = write_scenes(examples, tmp_path)
    back = read_scenes(path)
    assert [replace(example, source=Source()) for example in back] == [
        replace(example, source=Source()) for example in examples
    ]
    assert [example.source.kind for example in back] == [example.source.kind for example in examples]
    assert back[4].source == Source(str(path), 5, examples[4].source.kind)
    assert read_scenes(tmp_path) == back


def test_a_folder_may_be_moved(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    examples = generate_scenes(tmp_path / "here", questions=10)
    write_scenes(examples, tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    assert [example.question for example in read_scenes(tmp_path / "there")] == [it.question for it in examples]


def test_a_part_of_a_picture_comes_back(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    example = Example(
        facts=(Picture(str(tmp_path / "a.png"), (0, 0, 0.5, 1)),), question="What?", answer=("two", "words")
    )
    (back,) = read_scenes(write_scenes([example], tmp_path))
    assert (back.facts, back.question, back.answer) == (example.facts, example.question, example.answer)


def test_a_broken_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Path, target: Path) -> None:
        raise OSError("disk full")

    examples = generate_scenes(tmp_path, questions=5)
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(DataError, match="disk full"):
        write_scenes(examples, tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".png"}


def test_a_picture_elsewhere_is_refused(tmp_path: Path) -> None:
    example = Example(facts=(Picture("elsewhere.png"),), question="What?", answer=("it",))
    with pytest.raises(DataError, match=r"elsewhere\.png: is not in"):
        write_scenes([example], tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"facts": []}, "facts: List should have at least 1 item"),
        ({"facts": [{"image": "a.png"}]}, "facts.0"),
        ({"facts": [{"picture": "b.png"}]}, "the picture b.png is not there; put it beside questions.jsonl"),
        ({"facts": [{"picture": "a.png", "box": [0, 0, 2, 1]}]}, "as shares of the picture from 0 to 1"),
        ({"question": ""}, "question: String should have at least 1 character"),
        ({"answer": "yes"}, "answer: Input should be a valid"),
        ({"supporting": [2]}, "supporting fact 2 is not among the 2 facts"),
        ({"supporting": [-1]}, "supporting.0"),
        ({"regions": [{"fact": 0, "box": BOX}]}, "a region is in fact 0, which is not a picture"),
        ({"regions": [{"fact": 5, "box": BOX}]}, "a region is in fact 5, which is not a picture"),
        ({"regions": [{"fact": 1, "box": [0.5, 0, 0.25, 1]}]}, "the box .* is not left, top, right, bottom"),
        ({"answers": ["yes"]}, "answers: Extra inputs are not permitted"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, change: dict, message: str) -> None:
    (tmp_path / "a.png").touch()
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in (GOOD, GOOD | change)) + "\n")
    with pytest.raises(DataError, match=rf"questions\.jsonl:2: .*{message}"):
        read_scenes(path)


@pytest.mark.parametrize("name", ["{elsewhere}/b.png", "{here}/a.png", "../elsewhere/b.png", "out.png", "out/b.png"])
def test_a_picture_that_is_not_beside_is_not_read(tmp_path: Path, name: str) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for path in (here / "a.png", elsewhere / "b.png"):
        path.parent.mkdir()
        path.touch()
    (here / "out.png").symlink_to(elsewhere / "b.png")
    (here / "out").symlink_to(elsewhere)
    line = GOOD | {"facts": [{"picture": name.format(here=here, elsewhere=elsewhere)}]}
    (here / "questions.jsonl").write_text(json.dumps(line))
    with pytest.raises(
        DataError, match=r"questions\.jsonl:1: .*\.png is no path within the folder of questions\.jsonl; copy"
    ):
        read_scenes(here)


def test_links_within_a_folder_and_to_it_are_followed(tmp_path: Path) -> None:
    (tmp_path / "here" / "more").mkdir(parents=True)
    (tmp_path / "here" / "more" / "a.png").touch()
    (tmp_path / "here" / "b.png").symlink_to("more/a.png")
    names = ["more/a.png", "b.png", "more/../b.png"]
    line = GOOD | {"facts": [{"picture": name} for name in names]}
    (tmp_path / "here" / "questions.jsonl").write_text(json.dumps(line))
    (tmp_path / "link").symlink_to("here")
    [example] = read_scenes(tmp_path / "link")
    assert example.facts == tuple(Picture(str(tmp_path / "link" / name)) for name in names)


def test_a_folder_of_the_hubs_cache_is_read(tmp_path: Path) -> None:
    # Its files are links into a folder of all that was ever fetched.
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "v1"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for name, content in (("a.png", ""), ("questions.jsonl", json.dumps(GOOD))):
        (blobs / f"hash-{name[0]}").write_text(content)
        (snapshot / name).symlink_to(f"../../blobs/hash-{name[0]}")
    [example] = read_scenes(snapshot)
    assert example.facts[1] == Picture(str(snapshot / "a.png"))


def test_a_file_that_is_no_such_file(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    with pytest.raises(DataError, match="no such file; run `dmnplus data scenes FOLDER`"):
        read_scenes(tmp_path)
    path.write_bytes(b"\n\n")
    with pytest.raises(DataError, match="holds no question"):
        read_scenes(path)
    path.write_bytes(b"\xff\xfe{")
    with pytest.raises(DataError, match=r"questions\.jsonl:1: is not UTF-8 text \(looks like UTF-16\)"):
        read_scenes(path)
    path.write_text('{"facts": ["cut')
    with pytest.raises(DataError, match=r"questions\.jsonl:1: the line: Invalid JSON"):
        read_scenes(path)
