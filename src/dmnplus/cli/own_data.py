"""A user's own questions, as `train own`, `eval` and `data check` read them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dmnplus.data.example import DataError, Example, iter_pictures, iter_sentences
from dmnplus.data.names import placeholder, spell
from dmnplus.data.own import (
    PARTS,
    SPLITS,
    OwnFile,
    Row,
    counted,
    divide,
    iter_contradictions,
    number_stories,
    own_splits,
    read_own,
    require,
    shared_stories,
)
from dmnplus.data.words import tokenize

if TYPE_CHECKING:
    from dmnplus.config import Config
    from dmnplus.data.vocabulary import Vocabulary
    from dmnplus.training.trainer import DataConfig

# An answer with fewer examples is hardly learnt.
FEW = 3
SHOWN = 8


def read_files(data: Path, valid: Path | None, test: Path | None) -> dict[str, OwnFile]:
    """The files that were given, by what they are."""
    named = {"data": data, "valid": valid, "test": test}
    return {role: read_own(path) for role, path in named.items() if path is not None}


def own_config(files: Mapping[str, OwnFile], *, variant: str, recipe: Path | None, settings: Iterable[str]) -> Config:
    """The settings of a run on these files."""
    from dmnplus.config import own_defaults, resolve

    rows = files["data"].rows
    several = any(len(row.example.answer) > 1 for row in rows)
    defaults = own_defaults(len(rows), several_words=several, variant=variant)
    return resolve(variant=variant, defaults=defaults, recipe=recipe, settings=settings)


def divided(files: Mapping[str, OwnFile], config: DataConfig) -> dict[str, list[Row]]:
    """The rows that train, validate and test."""
    return divide(
        files["data"],
        files.get("valid"),
        files.get("test"),
        validation_share=config.validation_share,
        test_share=config.test_share,
        seed=config.split_seed,
    )


def questions_to_measure(
    path: Path, trained_on: Mapping[str, str], config: DataConfig, split: str | None
) -> tuple[list[Example], str]:
    """The questions of a file that `eval` measures on, and what they are.

    Of the file that a run was trained on (`trained_on` has its SHA-256 as `data`), the part that `split` names (None:
    test), divided as for training; of a file with a split column, the rows of that split; else, and for "all", every
    question. Raises `DataError` for a `split` of a file that has no parts.
    """
    if split is not None and split != "all" and split not in SPLITS:
        raise ValueError(f"--split is {split!r}; it takes train, valid, test or all")
    file = require(read_own(path))
    part = SPLITS[split or "test"] if split != "all" else split
    if split == "all":
        rows, what = file.rows, "all questions"
    elif file.sha256 == trained_on.get("data"):
        empty = {role: OwnFile(path) for role in ("valid", "test") if role in trained_on}
        rows, what = divided({"data": file, **empty}, config)[part], f"the {part} part, as divided for training,"
    elif any(row.split for row in file.rows):
        rows, what = [row for row in file.rows if row.split == part], f"the rows with split {part}"
    elif split is not None:
        raise DataError(
            f"{path}: is not the file that the run was trained on, to the byte, and has no column `split`, so nothing "
            "tells its parts; leave --split out to measure on all of it"
        )
    else:
        # Which may be an older or newer state of that file.
        rows, what = file.rows, "all questions, the file not being the one trained on,"
    if not rows:
        raise DataError(f"{path}: has no {part} questions; give another file, or another --split ({', '.join(PARTS)})")
    return [row.example for row in rows], f"{what} of {path}"


def remarks(
    files: Mapping[str, OwnFile], parts: Mapping[str, Sequence[Row]], config: Config, vocabulary: Vocabulary
) -> Iterator[str]:
    """What is not wrong, but should be known before training, a line each; `vocabulary` is that of the training."""
    for file in files.values():
        if file.ignored:
            yield f"{file.path}: columns that are not read: {', '.join(sorted(file.ignored))}"
    rows = [row for part in parts.values() for row in part]
    limit = config.data.last_facts
    long = [row.example for row in rows if len(row.example.facts) > limit]
    if long:
        most = max(len(example.facts) for example in long)
        yield (
            f"{_several(long)} more than {limit} facts before the question; only the last {limit} are read, and "
            f"--set data.last_facts={most} reads all (first: {long[0].source})"
        )
    again = len(rows) - len({(row.example.facts, row.example.question, row.example.answer) for row in rows})
    if again:
        yield f"rows that say what another row says already: {again}"
    spellings: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        spellings[" ".join(row.example.answer).lower()].add(" ".join(row.example.answer))
    for written in sorted(tuple(sorted(spelling)) for spelling in spellings.values() if len(spelling) > 1):
        yield f"answers that differ in capitals alone are different answers: {', '.join(written)}"
    new = [row.example for part in ("valid", "test") for row in parts[part] if not _can_answer(row.example, vocabulary)]
    if new and config.model.answer == "class":
        answers = ", ".join(sorted({" ".join(example.answer) for example in new})[:SHOWN])
        yield f"answers that training never has, of {counted(len(new), 'question')} to validate or test on: {answers}"


def _can_answer(example: Example, vocabulary: Vocabulary) -> bool:
    """Whether the answer is one of training's, or one that the story has a placeholder for."""
    places = vocabulary.cast(example.facts, example.question).places
    words = (placeholder(places[w.lower()]) if w.lower() in places else w for w in example.answer)
    return vocabulary.join(words) in vocabulary.answer_ids


def _several(examples: Sequence[Example]) -> str:
    return f"{len(examples)} question{'s have' if len(examples) > 1 else ' has'}"


def check(
    console: Console,
    data: Path,
    valid: Path | None,
    test: Path | None,
    *,
    variant: str,
    recipe: Path | None,
    settings: Iterable[str],
) -> bool:
    """Print what is wrong with own data and what a model sees of it; whether nothing is wrong."""
    files = read_files(data, valid, test)
    config = own_config(files, variant=variant, recipe=recipe, settings=settings)
    problems = [problem for file in files.values() for problem in file.problems]
    problems += [line for file in files.values() for line in iter_contradictions(file.rows)]
    parts: dict[str, list[Row]] = {}
    if all(file.rows for file in files.values()):
        try:
            parts = divided(files, config.data)
            problems += shared_stories(parts)
        except DataError as error:
            problems.append(str(error))
    for problem in problems:
        console.print(f"[red]{escape(problem)}[/]", highlight=False, soft_wrap=True)
    if parts:
        if any(file.problems for file in files.values()):
            console.print("without the rows that cannot be read:", highlight=False)
        _describe(console, files, parts, config)
    total = sum(len(file.rows) for file in files.values())
    verdict = f"[red]{counted(len(problems), 'problem')}[/]" if problems else "nothing is wrong"
    console.print(f"{counted(total, 'question')} can be read: {verdict}", highlight=False)
    return not problems


def _describe(
    console: Console, files: Mapping[str, OwnFile], parts: Mapping[str, Sequence[Row]], config: Config
) -> None:
    from dmnplus.training.baselines import baselines
    from dmnplus.training.run import vocabulary_of

    splits = own_splits(parts, files)
    vocabulary = vocabulary_of(splits, config.data)
    columns = (
        "",
        "questions",
        "stories",
        "facts each",
        "words a sentence",
        "pictures",
        "labelled",
        "words not trained",
    )
    table = Table(*columns, box=None, header_style="dim")
    for part in PARTS:
        if parts[part]:
            table.add_row(part, *_figures(parts[part], vocabulary))
    console.print(table)
    answers = Counter(" ".join(example.answer) for example in splits.training)
    names = f", {vocabulary.names} of them placeholders" if vocabulary.names else ""
    placeholders = " or a placeholder" if vocabulary.names else ""
    how = "decoded word by word" if config.model.answer == "words" else f"each of them a class{placeholders}"
    console.print(f"vocabulary: {len(vocabulary.words) - 2} words{names}", highlight=False)
    frequent = ", ".join(f"{answer} {count}" for answer, count in answers.most_common(SHOWN))
    line = f"answers: {len(answers)}, {how}; most frequent: {frequent}"
    console.print(line, highlight=False, soft_wrap=True, markup=False)
    # What a placeholder stands for needs no examples of its own.
    few = sorted(answer for answer, count in answers.items() if count < FEW and answer in vocabulary.answer_ids)
    if few:
        shown = ", ".join(few[:SHOWN]) + (", ..." if len(few) > SHOWN else "")
        line = f"{counted(len(few), 'answer')} with fewer than {FEW} examples: {shown}"
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    for line in (*remarks(files, parts, config, vocabulary), *baselines(splits)):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    example = splits.training[0]
    places = vocabulary.cast(example.facts, example.question).places
    line = f"the first question as the model reads it ({example.source}):"
    console.print(line, highlight=False, soft_wrap=True, markup=False)
    facts = example.facts[-config.data.last_facts :]
    for fact in (*facts, example.question):
        text = " ".join(spell(fact, places)) if isinstance(fact, str) else f"(picture {fact})"
        console.print(f"  {text}", highlight=False, soft_wrap=True, markup=False, style="dim")


def _figures(rows: Sequence[Row], vocabulary: Vocabulary) -> Iterator[str]:
    """The cells of a part's row, after its name."""
    examples = [row.example for row in rows]
    yield str(len(rows))
    yield str(max(number_stories(rows)) + 1)
    yield _spread([len(example.facts) for example in examples])
    yield _spread([len(tokenize(sentence)) for sentence in set(iter_sentences(examples))])
    yield str(len(set(iter_pictures(examples))))
    yield f"{sum(bool(e.supporting or e.regions) for e in examples) / len(examples):.0%}"
    new: set[str] = set()
    for example in examples:
        places = vocabulary.cast(example.facts, example.question).places
        new.update(vocabulary.unknown_words(iter_sentences([example]), places))
    yield str(len(new))


def _spread(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}, median {median(numbers):g}"
