"""Simulated stories for the twenty bAbI tasks: as many questions as wanted, the same ones for the same seed.

Weston et al. 2015, https://arxiv.org/abs/1502.05698. Vocabulary, lengths, answers and supporting facts follow the
official files task by task.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from random import Random

from dmnplus.data.babi import parse_babi
from dmnplus.data.example import DataError, Example
from dmnplus.data.generate import actors, animals, motivations, objects, places, size_reasoning, times
from dmnplus.data.generate.story import Statement, Task
from dmnplus.data.writing import make_folder, write_lines

_MODULES = (actors, animals, motivations, objects, places, size_reasoning, times)
TASKS: Mapping[int, Task] = {
    task.number: task
    for task in sorted((task for module in _MODULES for task in module.TASKS), key=lambda task: task.number)
}
SPLITS = ("train", "valid", "test")

# The official files of these tasks put a space between the question and its tab.
_SPACE_BEFORE_TAB = frozenset({1, 2, 3, *range(5, 15)})


def generate(task: int, questions: int, seed: int, split: str = "train") -> list[Example]:
    """`questions` questions of `task`, of kind `babi/N`; always the same for a task, seed and split.

    Raises ValueError for an unknown task or split and for less than one question.
    """
    lines = generate_lines(task, questions, seed, split)
    return parse_babi(lines, file=f"generated qa{task}_{split} (seed {seed})", kind=f"babi/{task}")


def generate_lines(task: int, questions: int, seed: int, split: str = "train") -> Iterator[str]:
    """The lines of a file in the official format, without line ends; the last one is the last question.

    `split` only makes the parts of one seed differ. Raises ValueError as `generate`, before the first line.
    """
    if task not in TASKS:
        raise ValueError(f"task {task!r} is not one of {', '.join(map(str, TASKS))}")
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is not one of {', '.join(SPLITS)}")
    if questions < 1:
        raise ValueError(f"questions {questions!r} is less than 1; ask for at least one question")
    # A text as seed is hashed with SHA-512: the same stream on every machine and in every run.
    return _lines(TASKS[task], questions, Random(f"babi/{task}/{split}/{seed}"))


def _lines(task: Task, questions: int, random: Random) -> Iterator[str]:
    space = " " if task.number in _SPACE_BEFORE_TAB else ""
    asked = 0
    while True:
        for number, line in enumerate(task.story(random), 1):
            if isinstance(line, Statement):
                yield f"{number} {line.text}"
                continue
            supporting = " ".join(str(position + 1) for position in line.supporting)
            yield f"{number} {line.text}{space}\t{','.join(line.answer)}\t{supporting}"
            asked += 1
            if asked == questions:
                return


def write_dataset(
    folder: Path, tasks: Iterable[int], questions: Mapping[str, int], seed: int, *, force: bool = False
) -> list[Path]:
    """Writes `qaN_stem_train.txt` and `qaN_stem_test.txt` for each of `tasks` and returns their paths.

    `questions` says how many for each split ({"train": 10_000, "test": 1_000}); the folder is made if need be. A file
    appears whole or not at all. Raises, before anything is written, ValueError as `generate` and, unless `force`,
    DataError for a file that is there, which may be an official one; DataError also for what cannot be written.
    """
    wanted = {
        (task, split): generate_lines(task, count, seed, split) for task in tasks for split, count in questions.items()
    }
    files = {folder / f"qa{task}_{TASKS[task].stem}_{split}.txt": lines for (task, split), lines in wanted.items()}
    if not force and (there := next((path for path in files if path.exists()), None)):
        raise DataError(f"{there}: is there already; choose another folder, or write over it with --force")
    make_folder(folder)
    for path, lines in files.items():
        write_lines(path, lines)
    return [*files]
