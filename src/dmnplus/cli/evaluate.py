"""`dmnplus eval`."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dmnplus.cli.model_names import Model, Run, find_model
from dmnplus.cli.own_data import questions_to_measure
from dmnplus.cli.picture_data import DATASETS, SEVERAL_WORDS, read_questions, without_pictures
from dmnplus.cli.sources import SOURCES, parse_tasks, read_source
from dmnplus.data.babi import LANGUAGES, find_babi, is_one_file, read_babi, read_babi_file
from dmnplus.data.daquar import count_several_words
from dmnplus.data.example import DataError, Example, iter_pictures
from dmnplus.data.vqa import Annotation, read_annotations, vqa_files, write_results

if TYPE_CHECKING:
    from dmnplus.training.metrics import Evaluation
    from dmnplus.training.trainer import DataConfig
    from dmnplus.training.vqa_accuracy import VQAAccuracy

# Of VQA's 65.
_QUESTION_TYPES = 10


def evaluate_run(
    run: Run = None,
    data: Annotated[
        str | None,
        typer.Argument(
            help="Official archive, its folder, a file in its format, generated:QUESTIONS[:SEED], or own data."
        ),
    ] = None,
    model_name: Model = None,
    questions: Annotated[
        Path | None, typer.Option(help="The questions, in the format of the data set that the run was trained on.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of the questions' pictures.")] = None,
    features: Annotated[Path | None, typer.Option(help="Their regions, made by `dmnplus features`.")] = None,
    annotations: Annotated[Path | None, typer.Option(help="VQA: the answers to the questions.")] = None,
    results: Annotated[
        Path | None, typer.Option(help="VQA: write the model's answers here, in the official submission format.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="The backbone's weights, to make regions that --features does not give.")
    ] = None,
    task: Annotated[
        int | None, typer.Option(min=1, max=20, help="bAbI task; default: what the run was trained on.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="train, valid or test (the default); of own data also all; of pictures the data set's own names, as "
            "dev for NLVR and val (the default) for VQA."
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(help="Folder of the archive: en, hn, shuffled, ... Default: as for training, or en-10k."),
    ] = None,
    several_words: Annotated[
        bool | None,
        typer.Option(
            "--several-words/--single-word",
            help="DAQUAR: take in answers of several words, or leave them out. Default: as for training.",
        ),
    ] = None,
    beams: Annotated[
        int | None, typer.Option(min=1, help="Beams of a decoder of words; 1 is greedy. Default: the run's.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to run the network: cpu, cuda, cuda:1, ..., or auto.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print accuracy, error by type of question, and how the attention agrees with the supporting facts."""
    # Here and not above: PyTorch takes seconds to import, and help should not wait for it.
    from dmnplus.cli.progress import reading
    from dmnplus.data.batching import encode
    from dmnplus.training.metrics import evaluate, predictions
    from dmnplus.training.run import load_model
    from dmnplus.training.vqa_accuracy import vqa_accuracy
    from dmnplus.vision.opening import open_pictures

    if model_name is not None and data is None:
        # Without a run in front, the first argument is the data.
        run, data = None, run
    folder = find_model(run, model_name)
    config, vocabulary, model = load_model(folder, device)
    if beams is not None:
        model.config = replace(model.config, beams=beams)
    dataset = trained_on(folder)
    named = str(questions) if questions else data
    on_babi = dataset not in (*DATASETS, "own")
    # Has no parts to choose from.
    whole = on_babi and named is not None and (named.startswith(SOURCES) or is_one_file(Path(named)))
    regions = model.pictures is not None and model.pictures.kind == "regions"
    unused = {
        "--results": results is not None and dataset != "vqa",
        "--annotations": annotations is not None and dataset != "vqa",
        "--images": images is not None and dataset not in ("daquar", "vqa"),
        "--features": features is not None and model.pictures is None,
        "--weights": weights is not None and not regions,
        "--several-words": several_words is not None and dataset != "daquar",
        "--task": task is not None and not on_babi,
        "--split": split is not None and whole,
        "--language": language is not None and (whole or not on_babi),
    }
    if options := [option for option, without_effect in unused.items() if without_effect]:
        why = f"the run was trained on {dataset or 'text'}" + (f", and {named} is read whole" if whole else "")
        raise DataError(f"{', '.join(options)}: without effect here, as {why}; leave it out")
    console = Console()
    source = Path(named) if named else None
    if dataset == "vqa" and source is not None and source.is_dir():
        source, official, photos = vqa_files(source, split or "val")
        split, images, annotations = None, images or photos, annotations or official
    if dataset == "vqa" and model.pictures is not None and images is None and features is None:
        raise DataError("the run looks at photos, and none are beside the questions; give --images DIR")
    if on_babi:
        examples, described = _read(folder, named, task, split, language)
    else:
        examples, described = read_data(
            folder, config.data, source, split, images=images, annotations=annotations, several_words=several_words
        )
        if model.pictures is None and dataset != "own":
            examples = without_pictures(examples)
    if not as_json:
        console.print(described, highlight=False, soft_wrap=True, markup=False)
    pictures = open_pictures(
        iter_pictures(examples),
        size=config.data.image_size,
        grid=config.data.image_grid,
        store=features,
        wanted=model.pictures,
        weights=weights,
        watch=reading,
    )
    encoded = encode(examples, vocabulary, last_facts=config.data.last_facts, pictures=pictures)
    # Only the metrics of some data sets need the answers themselves.
    answered = predictions(model, encoded, vocabulary, examples) if dataset in ("daquar", "vqa") else []
    with_answers = any(example.answer for example in examples)
    # VQA's own numbers of the questions.
    by_id = {e.source.line: vocabulary.join(a) for e, a in zip(examples, answered, strict=True)} if answered else {}
    if results is not None:
        write_results(results, by_id)
        typer.echo(f"answers to {len(examples)} questions in {results}", err=True)
        if not with_answers:
            return
    if not with_answers:
        raise DataError("the questions have no answers to compare with; give --annotations, or --results to write them")
    result = evaluate(model, encoded, examples)
    wups = _wups(answered, examples) if dataset == "daquar" else None
    people = read_annotations(annotations) if annotations else {}
    consensus = vqa_accuracy(by_id, people) if people else None
    if as_json:
        more = {"wups": wups, "vqa": consensus and asdict(consensus)}
        typer.echo(json.dumps(result.to_json() | {name: value for name, value in more.items() if value}, indent=2))
        return
    _print(console, result)
    for threshold, score in (wups or {}).items():
        console.print(f"WUPS at {threshold}: {score:.2%}", highlight=False)
    if consensus:
        _print_consensus(console, consensus, people)


def read_data(
    run: Path,
    config: DataConfig,
    source: Path | None,
    split: str | None = None,
    *,
    images: Path | None = None,
    annotations: Path | None = None,
    several_words: bool | None = None,
) -> tuple[list[Example], str]:
    """The questions in `source` of the data that a run was trained on, own or with pictures, and what they are.

    Of DAQUAR those with answers of several words, too, if `several_words`, or if it is None and training had them.
    """
    from dmnplus.training.checkpoint import RUN, read_json

    dataset = trained_on(run)
    if source is None:
        what = "the file to measure on" if dataset == "own" else "--questions FILE or the data set's folder"
        raise DataError(f"the run was trained on {dataset} data; give {what}")
    if dataset == "own":
        return questions_to_measure(source, read_json(run / RUN).get("files", {}), config, split)
    if several_words is None:
        several_words = SEVERAL_WORDS in read_json(run / RUN)["data"]
    examples = read_questions(
        dataset, source, split, images=images, annotations=annotations, several_words=several_words
    )
    described = f"questions of {dataset} in {', '.join(sorted({example.source.file for example in examples}))}"
    if dataset == "daquar" and not several_words and (left := count_several_words(source, split or "test")):
        described += f" but for {left} with answers of several words (--several-words)"
    return examples, described


def _wups(answers: Sequence[tuple[str, ...]], examples: Sequence[Example]) -> dict[str, float] | None:
    """WUPS by threshold; without WordNet none, and a line that says what is missing."""
    from dmnplus.training.wups import daquar_scores, wordnet_similarity

    try:
        scores = daquar_scores(answers, [example.answer for example in examples], wordnet_similarity())
    except DataError as error:
        Console(stderr=True).print(f"[yellow]no WUPS:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        return None
    return {"0.9": scores.wups_09, "0.0": scores.wups_00}


def trained_on(run: Path) -> str:
    """The data set that a run's record names: `daquar`, `babi/2`, ...; empty if there is no record."""
    return _data_of(run).partition(" ")[0].rstrip(",")


def _data_of(run: Path) -> str:
    from dmnplus.training.checkpoint import RUN, read_json

    return str(read_json(run / RUN).get("data", "")) if (run / RUN).exists() else ""


def _read(
    run: Path, data: str | None, task: int | None, split: str | None, language: str | None
) -> tuple[list[Example], str]:
    """Questions of bAbI, and what they are."""
    source = data is not None and data.startswith(SOURCES)
    if data is not None and not source and is_one_file(Path(data)):
        kind = f"babi/{task}" if task else trained_on(run)
        kind = kind if re.fullmatch(r"babi/\d+", kind) else "babi"
        return read_babi_file(Path(data), kind), f"all questions of {data}"
    tasks = [task] if task is not None else _trained_tasks(run)
    named = f"bAbI task{'s' * (len(tasks) > 1)} {','.join(str(number) for number in tasks)}"
    if data is not None and source:
        return [e for number in tasks for e in read_source(data, number, split="test")], f"{named}, {data}"
    archive = find_babi(Path(data) if data else None)
    split, language = split or "test", language or trained_language(run)
    described = f"{named}, {language}, {split} file{'s' * (len(tasks) > 1)}"
    return [e for number in tasks for e in read_babi(archive, number, split, language)], described


def trained_language(run: Path) -> str:
    """The folder of the archive that a run's record names, as in `babi/2 (shuffled-10k)`; else en-10k."""
    named = _data_of(run).rpartition(" (")[2].removesuffix(")")
    return named if named in LANGUAGES else "en-10k"


def _trained_tasks(run: Path) -> list[int]:
    """The bAbI tasks that a run's record names: `babi/2 (en-10k)`, or `babi/1,15, one model (en-10k)`."""
    name = _data_of(run).partition(" (")[0]
    try:
        return parse_tasks(name.removeprefix("babi/").removesuffix(", one model"))
    except ValueError:
        problem = "its record does not say which bAbI task the run was trained on"
        raise DataError(f"{run}: {problem}; give --task") from None


def _print(console: Console, result: Evaluation) -> None:
    lost = f", {result.unanswerable} of them with answers never seen in training" if result.unanswerable else ""
    # An answer that was never seen carries no loss.
    loss = f", loss {result.loss:.4f}" if result.unanswerable < result.questions else ""
    console.print(
        f"{result.questions} questions{lost}: accuracy {result.accuracy:.2%}, error {result.error:.2%}{loss}",
        highlight=False,
    )
    kinds = Table("type of question", "questions", "error", box=None, header_style="dim")
    for kind, (count, wrong) in _large_kinds(result).items():
        kinds.add_row(escape(kind), str(count), f"{wrong / count:.2%}")
    console.print(kinds)
    if result.attention is None:
        console.print("no supporting facts are labelled", highlight=False)
        return
    attention = result.attention
    console.print(
        f"attention beside the supporting facts ({attention.questions} questions): "
        f"precision {attention.precision:.1%}, recall {attention.recall:.1%}",
        highlight=False,
    )
    passes = Table("pass", "top fact is labelled", "attention on labelled facts", box=None, header_style="dim")
    for t, score in enumerate(attention.passes):
        passes.add_row(str(t + 1), f"{score.top_fact:.1%}", f"{score.mass:.1%}")
    console.print(passes)


def _print_consensus(console: Console, consensus: VQAAccuracy, annotations: Mapping[int, Annotation]) -> None:
    by_type = ", ".join(f"{kind} {score:.2%}" for kind, score in consensus.by_answer_type.items())
    console.print(f"VQA accuracy: {consensus.overall:.2%} ({by_type})", highlight=False, soft_wrap=True)
    counts = Counter(annotation.question_type for annotation in annotations.values())
    kinds = Table("question type", "questions", "VQA accuracy", box=None, header_style="dim")
    for kind, count in counts.most_common(_QUESTION_TYPES):
        kinds.add_row(escape(kind), str(count), f"{consensus.by_question_type[kind]:.2%}")
    console.print(kinds)
    if len(counts) > _QUESTION_TYPES:
        console.print(f"the commonest {_QUESTION_TYPES} of {len(counts)}; --json has all", highlight=False)


def _large_kinds(result: Evaluation) -> dict[str, tuple[int, float]]:
    """Questions and wrong answers by type; first words of fewer than one question in a hundred go together."""
    from dmnplus.report.records import merged_kinds

    def name(kind: str, questions: float) -> str:
        source, blank, _ = kind.partition(" ")
        return kind if not blank or questions >= result.questions / 100 else f"{source} (other words)"

    return merged_kinds(result.by_kind, name)
