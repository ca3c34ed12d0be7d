"""The official format: what is read from it, what is refused, and the real archive."""

from __future__ import annotations

import gc
import gzip
import io
import os
import re
import shutil
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmnplus.data import babi
from dmnplus.data.babi import find_babi, parse_babi, read_babi, read_babi_file, write_babi
from dmnplus.data.example import DataError, Example, Source
from dmnplus.data.location import default_data_root

STORY = """\
1 Mary moved to the bathroom.
2 John went to the hallway.
3 Where is Mary? \tbathroom\t1
4 Daniel went back to the hallway.
5 Where is Daniel? \thallway\t4
1 Sandra got the milk.
2 Sandra got the football there.
3 What is Sandra carrying?\tmilk,football\t1 2
"""
QA1 = "qa1_single-supporting-fact_train.txt"


def read_text(tmp_path: Path, content: str | bytes) -> list[Example]:
    path = tmp_path / "story.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_babi_file(path)


def message(content: str | bytes, tmp_path: Path) -> str:
    """The one error for this content, with the folder cut off the file name."""
    with pytest.raises(DataError) as caught:
        read_text(tmp_path, content)
    text = str(caught.value)
    assert "\n" not in text
    return text.replace(f"{tmp_path}{os.sep}", "")


def test_facts_questions_answers_and_supporting_facts() -> None:
    first, second, third = parse_babi(STORY.splitlines(), file="f.txt", kind="babi/1")
    assert first.facts == ("Mary moved to the bathroom.", "John went to the hallway.")
    assert (first.question, first.answer, first.supporting) == ("Where is Mary?", ("bathroom",), (0,))
    assert first.source == Source("f.txt", 3, "babi/1")
    # Line 4 of the story is its third fact: line 3 is a question.
    assert (len(second.facts), second.supporting) == (3, (2,))
    assert (third.answer, third.supporting, third.source.line) == (("milk", "football"), (0, 1), 8)
    assert third.facts == ("Sandra got the milk.", "Sandra got the football there.")


@pytest.mark.parametrize(
    "content",
    [
        STORY.replace("\n", "\r\n"),
        "\ufeff" + STORY,
        STORY.removesuffix("\n"),
        STORY.replace("1 Sandra", "\n1 Sandra") + "\n\n",
    ],
    ids=["CRLF", "byte order mark", "no final newline", "blank lines"],
)
def test_harmless_variants_read_the_same(tmp_path: Path, content: str) -> None:
    contents = [babi._content(example) for example in read_text(tmp_path, content)]
    assert contents == [babi._content(example) for example in parse_babi(STORY.splitlines())]


def test_supporting_column_may_be_left_out(tmp_path: Path) -> None:
    assert read_text(tmp_path, "1 Mary left.\n2 Who left?\tMary\n")[0].supporting == ()


def test_a_question_mark_inside_a_fact_is_a_fact(tmp_path: Path) -> None:
    # The Hindi task 15 writes its facts like this.
    assert read_text(tmp_path, "1 Pallavi bhed hai ?.\n2 Kaun?\tbhed\t1\n")[0].facts == ("Pallavi bhed hai ?.",)


def test_an_answer_may_hold_a_space(tmp_path: Path) -> None:
    assert read_text(tmp_path, "1 Sita gayi.\n2 Kahan?\trasoi ghar\t1\n")[0].answer == ("rasoi ghar",)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("1 A.\n2 Where is A?\n", "story.txt:2: is a question without an answer"),
        ("1 A.\n2 Where is A?  hall  1\n", "story.txt:2: is a question without an answer"),
        ("1 A.\n2 Where?\t\t1\n", "story.txt:2: has an empty answer"),
        ("1 A.\n2 Where?\t \n", "story.txt:2: has an empty answer"),
        ("1 A.\n2 Where?\t\thall\t1\n", "story.txt:2: has an empty answer or two tabs in a row"),
        ("1 A.\n2 Where?\tmilk,\t1\n", "story.txt:2: has an empty answer"),
        ("1 A.\n2 Where?\thall\t\t1\n", "story.txt:2: has 4 columns"),
        ("1 A.\n2 Where?\thall\tone\n", "story.txt:2: lists supporting facts as 'one'"),
        ("1 A.\n2 Where?\thall\t1,1\n", "story.txt:2: lists supporting facts as '1,1'"),
        ("1 A.\n2 Where?\thall\t0\n", "story.txt:2: names line 0 as supporting fact"),
        ("1 A.\n2 Where?\thall\t2\n", "story.txt:2: names line 2 as supporting fact"),
        ("1 A.\n2 Where?\thall\t3\n3 B.\n4 Where?\thall\t3\n", "story.txt:2: names line 3 as supporting fact"),
        ("1 A.\n2 Where?\thall\t1\n3 Where?\thall\t2\n", "story.txt:3: names line 2 as supporting fact, which is a q"),
        ("1 A.\n3 Where?\thall\t1\n", "story.txt:2: is numbered 3 where 2 is expected"),
        ("2 A.\n3 Where?\thall\t2\n", "story.txt:1: is numbered 2 where 1 is expected"),
        ("0 A.\n1 Where?\thall\t0\n", "story.txt:1: is numbered 0 where 1 is expected"),
        ("1 A.\n1 Where?\thall\t1\n", "story.txt:2: the story before this ends with facts"),
        ("1 A.\nWhere?\thall\t1\n", "story.txt:2: does not start with a line number"),
        ("1\tA.\n2 Where?\thall\t1\n", "story.txt:1: does not start with a line number and a space"),
        ("1 A.\n2\n3 Where?\thall\t1\n", "story.txt:2: does not start with a line number and a space"),
        ("1 \n2 Where?\thall\t1\n", "story.txt:1: holds no text"),
        ("1 A.\n" + "9" * 5000 + " Where?\thall\t1\n", "story.txt:2: does not start with a line number"),
        ("1 Where?\thall\t1\n", "story.txt:1: asks a question before the story has any fact"),
        ("", "story.txt: is empty"),
        ("\n \n", "story.txt: is empty"),
        ("1 A.\n2 B.\n", "story.txt:"),
        ("1 A.\n2 Where?\thall\t1\n3 B.\n", "the story before this ends with facts and no question"),
        ("1 A\x00.\n2 Where?\thall\t1\n", r"story.txt:1: holds the control character '\x00'"),
        ("1 A.\r2 Where?\thall\t1\r", r"story.txt:1: holds the control character '\r'"),
        ("1 A.\n2 Où?\thall\t1\n".encode("latin-1"), "story.txt:2: is not UTF-8 text"),
        (STORY.encode("utf-16"), "story.txt:1: is not UTF-8 text (looks like UTF-16)"),
        (gzip.compress(STORY.encode(), mtime=0), "story.txt:1: is not UTF-8 text"),
    ],
)
def test_bad_input_is_named_with_its_line(tmp_path: Path, content: str | bytes, expected: str) -> None:
    text = message(content, tmp_path)
    assert expected in text
    # Every message goes on to say what to do.
    assert ";" in text


@pytest.mark.parametrize("cut", range(1, len(STORY)))
def test_a_file_cut_anywhere_never_passes_for_whole(cut: int) -> None:
    """An official file that breaks off is an error wherever the cut is, except just after a question's line."""
    content = STORY[:cut]
    lines = content.split("\n")
    if content.endswith("\n") and "\t" in lines[-2]:
        # Here only the number of questions tells; see the test of the official folders.
        return
    with pytest.raises(DataError, match=r"f\.txt:\d+: "):
        babi._parse_bytes(content.encode(), "f.txt", "babi/1", whole=True)


@pytest.mark.parametrize("content", ["1 A.\n2 Where?\thall\t1\n3 Whe", "1 A.\n2 Where?\thall\t1\n3 Where?\tha"])
def test_own_file_that_breaks_off(tmp_path: Path, content: str) -> None:
    assert "story.txt:3: the file breaks off in this line" in message(content, tmp_path)


def official_folder(folder: Path, questions: int = 1_000, name: str = QA1) -> Path:
    """tasks_1-20_v1-2/en with one file."""
    language = folder / babi.ARCHIVE_FOLDER / "en"
    language.mkdir(parents=True)
    lines = "1 Mary moved to the bathroom.\n2 Where is Mary?\tbathroom\t1\n" * questions
    (language / name).write_text(lines, encoding="utf-8", newline="\n")
    return folder


def pack(folder: Path, archive: Path) -> Path:
    with tarfile.open(archive, "w:gz" if archive.suffix == ".gz" else "w") as file:
        file.add(folder / babi.ARCHIVE_FOLDER, babi.ARCHIVE_FOLDER)
    return archive


def test_every_place_a_file_may_be_in(tmp_path: Path) -> None:
    parent = official_folder(tmp_path / "parent")
    root = parent / babi.ARCHIVE_FOLDER
    flat = shutil.copytree(root / "en", tmp_path / "own")
    places = [parent, root, root / "en", flat, flat / QA1]
    places += [pack(parent, tmp_path / "babi.tar"), pack(parent, tmp_path / babi.ARCHIVE_NAME), tmp_path]
    for place in places:
        examples = read_babi(place, 1, "train", "en")
        assert len(examples) == 1_000, place
        assert examples[0].source.kind == "babi/1"
        assert examples[0].source.file.endswith(QA1)


def test_short_names_of_the_valid_folders(tmp_path: Path) -> None:
    folder = tmp_path / "en-valid"
    folder.mkdir()
    (folder / "qa3_valid.txt").write_text(STORY)
    assert len(read_babi(tmp_path, 3, "valid", "en-valid")) == 3


def test_an_official_file_cut_between_stories(tmp_path: Path) -> None:
    official_folder(tmp_path, questions=999)
    with pytest.raises(DataError, match="holds 999 questions where the official file has 1000"):
        read_babi(tmp_path, 1, "train", "en")
    # The file itself may be anyone's.
    assert len(read_babi(tmp_path / babi.ARCHIVE_FOLDER / "en" / QA1, 1, "train")) == 999


@pytest.mark.parametrize(
    ("task", "split", "language", "expected"),
    [
        (0, "train", "en", "task 0 is not one of 1 to 20"),
        (21, "train", "en", "task 21 is not one of 1 to 20"),
        (1, "dev", "en", "split 'dev' is not one of train, valid, test"),
        (1, "train", "de", "language 'de' is not one of en, en-10k"),
        (1, "valid", "en", "language 'en' has no split 'valid'"),
        (2, "train", "en", r"no qa2_\*_train.txt or qa2_train.txt is there \(nor any other file of this task\)"),
        (1, "test", "en", rf"no qa1_\*_test.txt or qa1_test.txt is there \(only {QA1}\); run `dmnplus data get babi`"),
        (1, "train", "hn", r"no qa1_\*_train.txt"),
    ],
)
def test_a_wrong_choice_or_a_missing_file(tmp_path: Path, task: int, split: str, language: str, expected: str) -> None:
    root = official_folder(tmp_path) / babi.ARCHIVE_FOLDER
    for place in (root, pack(tmp_path, tmp_path / "x.tar.gz")):
        with pytest.raises(DataError, match=expected):
            read_babi(place, task, split, language)


def test_a_language_folder_is_not_taken_for_another(tmp_path: Path) -> None:
    folder = official_folder(tmp_path) / babi.ARCHIVE_FOLDER / "en"
    with pytest.raises(DataError, match="holds language 'en', but 'en-10k' was asked for"):
        read_babi(folder, 1, "train")


def test_a_file_named_for_another_task_or_split(tmp_path: Path) -> None:
    file = official_folder(tmp_path) / babi.ARCHIVE_FOLDER / "en" / QA1
    for task, split in ((1, "test"), (2, "train")):
        with pytest.raises(DataError, match=f"this is task 1, split 'train', but task {task}, split '{split}'"):
            read_babi(file, task, split)


def test_two_files_for_one_task(tmp_path: Path) -> None:
    folder = official_folder(tmp_path) / babi.ARCHIVE_FOLDER / "en"
    shutil.copy(folder / QA1, folder / "qa1_mine_train.txt")
    with pytest.raises(DataError, match=r"holds 2 files for task 1, train: qa1_mine_train.txt"):
        read_babi(tmp_path, 1, "train", "en")


@pytest.mark.parametrize("name", ["none.txt", "none.tar.gz", "none"])
def test_a_missing_path(tmp_path: Path, name: str) -> None:
    for read in (lambda: read_babi(tmp_path / name, 1, "train"), lambda: find_babi(tmp_path / name)):
        with pytest.raises(DataError, match=f"{name}: no such file or folder; run `dmnplus data get babi`"):
            read()


def test_a_folder_where_a_file_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        read_babi_file(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    (tmp_path / "story.txt").touch(mode=0)
    with pytest.raises(DataError, match=r"cannot be read .*check its permissions"):
        read_babi_file(tmp_path / "story.txt")


def test_no_permission_whoever_runs_the_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"story.txt: cannot be read \(Permission denied\); check its permissions"):
        read_babi_file(tmp_path / "story.txt")


def test_a_damaged_archive_never_gives_fewer_files(tmp_path: Path) -> None:
    """Cut or changed anywhere, the archive is an error or reads exactly as before."""
    archive = pack(official_folder(tmp_path), tmp_path / "babi.tar.gz")
    whole = archive.read_bytes()
    expected = read_babi(archive, 1, "train", "en")
    damaged = [whole[:cut] for cut in range(0, len(whole), 37)]
    damaged += [whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :] for at in range(0, len(whole), 37)]
    damaged += [b"not an archive", b"<html>", gzip.compress(b"not a tar", mtime=0)]
    refusals: list[str] = []
    for content in damaged:
        archive.write_bytes(content)
        babi._archive_files.cache_clear()
        try:
            assert read_babi(archive, 1, "train", "en") == expected
        except DataError as error:
            refusals.append(str(error))
    assert len(refusals) > len(damaged) // 2
    assert all("damaged or incomplete archive" in refusal for refusal in refusals)


def test_an_archive_that_changed_is_read_again(tmp_path: Path) -> None:
    archive = pack(official_folder(tmp_path / "a", 1_000), tmp_path / "babi.tar.gz")
    assert len(read_babi(archive, 1, "train", "en")) == 1_000
    pack(official_folder(tmp_path / "b", 1_001), archive)
    assert len(read_babi(archive, 1, "train", "en")) == 1_001


def test_a_member_too_large_for_babi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(babi, "_MEMBER_LIMIT", 1_000)
    with pytest.raises(DataError, match="too many for bAbI"):
        read_babi(pack(official_folder(tmp_path), tmp_path / "babi.tar.gz"), 1, "train", "en")


def test_where_babi_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMNPLUS_DATA", str(tmp_path))
    assert default_data_root() == tmp_path
    with pytest.raises(DataError, match=r"\(from DMNPLUS_DATA\): neither .*dmnplus data get babi.*data generate"):
        find_babi()
    (tmp_path / QA1).touch()
    assert find_babi() == tmp_path
    (tmp_path / babi.ARCHIVE_NAME).touch()
    assert find_babi() == tmp_path / babi.ARCHIVE_NAME
    (tmp_path / babi.ARCHIVE_FOLDER).mkdir()
    assert find_babi() == tmp_path / babi.ARCHIVE_FOLDER
    assert find_babi(tmp_path / QA1) == tmp_path / QA1


@pytest.mark.skipif(os.name == "nt", reason="the XDG convention")
def test_the_cache_follows_the_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DMNPLUS_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_data_root() == tmp_path / "xdg" / "dmnplus" / "data"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_data_root() == tmp_path / ".cache" / "dmnplus" / "data"
    monkeypatch.setattr("sys.platform", "darwin")
    assert default_data_root() == tmp_path / "Library" / "Caches" / "dmnplus" / "data"
    with pytest.raises(DataError, match="neither tasks_1-20_v1-2/ nor"):
        find_babi()


words = st.sampled_from(["Mary", "is", "kitchen", "über", "ghar", "1"])
sentences = st.lists(words, min_size=1, max_size=3).map(lambda words: " ".join(words) + ".")


@st.composite
def examples(draw: st.DrawFn) -> Example:
    facts = tuple(draw(st.lists(sentences, min_size=1, max_size=4)))
    return Example(
        facts=facts,
        question=draw(sentences)[:-1] + "?",
        answer=tuple(draw(st.lists(words, min_size=1, max_size=3))),
        supporting=tuple(draw(st.lists(st.integers(0, len(facts) - 1), max_size=3))),
    )


@settings(max_examples=50)
@given(st.lists(examples(), min_size=1, max_size=4))
def test_round_trip_of_any_examples(given_examples: list[Example]) -> None:
    back = parse_babi(babi._story_lines(given_examples))
    assert [babi._content(example) for example in back] == [babi._content(example) for example in given_examples]


def test_written_file_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    before = parse_babi(STORY.splitlines())
    write_babi(before, path)
    # The official files differ in the blank after some question marks alone.
    assert path.read_text(encoding="utf-8") == STORY.replace("? \t", "?\t")
    assert [babi._content(example) for example in read_babi_file(path)] == [babi._content(one) for one in before]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "example",
    [
        Example(facts=("A\tb.",), question="Q?", answer=("a",)),
        Example(facts=("A.\nB.",), question="Q?", answer=("a",)),
        Example(facts=("Who is it?",), question="Q?", answer=("a",)),
        Example(facts=("A.",), question="Q?", answer=("a,b",)),
        Example(facts=("A.",), question="Q?", answer=()),
        Example(facts=("A.",), question="Q?", answer=("a",), supporting=(1,)),
        Example(facts=("A.",), question="Q?", answer=("a",), supporting=(-1,)),
        Example(facts=(), question="Q?", answer=("a",)),
    ],
)
def test_what_the_format_cannot_hold_is_not_written(tmp_path: Path, example: Example) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(DataError):
        write_babi([example], path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match="cannot be written"):
        write_babi(parse_babi(STORY.splitlines()), tmp_path / "none" / "out.txt")
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\)"):
        write_babi(parse_babi(STORY.splitlines()), tmp_path / "out.txt")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="session")
def archive_files(babi_archive: Path) -> dict[str, list[Example]]:
    """Every task file of the real archive by its folder and name, read in one pass."""
    files = {}
    # 300,000 questions without a cycle: the collector would take a third of the time.
    gc.disable()
    try:
        with tarfile.open(babi_archive, "r|gz") as archive:
            for member in archive:
                if re.fullmatch(r"[^/]+/[^/]+/qa[^/]+\.txt", member.name):
                    data = archive.extractfile(member)
                    assert data is not None
                    files[member.name.partition("/")[2]] = babi._parse_bytes(
                        data.read(), member.name, "babi", whole=True
                    )
    finally:
        gc.enable()
    return files


def test_every_file_of_the_archive(archive_files: dict[str, list[Example]]) -> None:
    assert len(archive_files) >= 161
    for name, read in archive_files.items():
        language, _, file = name.partition("/")
        if "valid" in language:
            continue
        large = language.endswith("10k") and file.endswith("_train.txt")
        assert len(read) == (10_000 if large else 1_000), name
        assert all(example.supporting for example in read), name
        several = any(len(example.answer) > 1 for example in read)
        assert several == file.startswith(("qa8_", "qa19_")), name


def test_known_answers_of_the_archive(babi_archive: Path) -> None:
    english = read_babi(babi_archive, 19, "train", "en")[0]
    assert english.answer == ("s", "e")
    # Lines 2 and 4 of a story without earlier questions.
    assert english.supporting == (1, 3)
    hindi = read_babi(babi_archive, 19, "train", "hn")[0]
    assert (hindi.answer, hindi.supporting) == (("dakshin", "poorav"), (4, 1))
    assert ("rasoi ghar",) in {example.answer for example in read_babi(babi_archive, 1, "train", "hn")}


def test_round_trip_of_real_files(tmp_path: Path, archive_files: dict[str, list[Example]]) -> None:
    for task in (3, 8, 15, 19):
        (read,) = (read for name, read in archive_files.items() if re.match(rf"en/qa{task}_.*_test", name))
        write_babi(read, tmp_path / "out.txt")
        back = read_babi_file(tmp_path / "out.txt")
        assert [babi._content(example) for example in back] == [babi._content(example) for example in read]


def test_a_file_missing_from_the_archive_is_named(babi_archive: Path, archive_files: dict[str, list[Example]]) -> None:
    if "en-10k/qa3_three-supporting-facts_train.txt" in archive_files:
        pytest.skip("this copy of the archive is whole")
    with pytest.raises(DataError, match=r"en-10k: no qa3_\*_train.txt .*run `dmnplus data get babi`.*data generate"):
        read_babi(babi_archive, 3, "train")


def test_an_archive_member_that_is_no_file(tmp_path: Path) -> None:
    archive = tmp_path / "babi.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        link = tarfile.TarInfo(f"{babi.ARCHIVE_FOLDER}/en/{QA1}")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link, io.BytesIO())
    with pytest.raises(DataError, match=r"no qa1_\*_train.txt"):
        read_babi(archive, 1, "train", "en")


def test_a_training_file_of_10k_with_a_tenth_of_its_questions(tmp_path: Path) -> None:
    folder = official_folder(tmp_path) / babi.ARCHIVE_FOLDER
    (folder / "en").rename(folder / "en-10k")
    with pytest.raises(DataError, match="holds 1000 questions where the official file has 10000"):
        read_babi(tmp_path, 1, "train", "en-10k")
    (folder / "en-10k" / QA1).rename(folder / "en-10k" / QA1.replace("train", "test"))
    assert len(read_babi(tmp_path, 1, "test", "en-10k")) == 1_000
