"""Runs: one or more starts of a network on a data set, side by side in processes, the best by validation loss kept."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import tomli_w
import torch

from dmnplus.config import Config, parse, plain
from dmnplus.data.batching import NO_ANSWER, Questions, encode
from dmnplus.data.example import DataError, Example, Splits, iter_sentences, with_common_answers
from dmnplus.data.names import find_names, find_rare, iter_words
from dmnplus.data.pictures import PictureFormat, Pictures
from dmnplus.data.vocabulary import Vocabulary
from dmnplus.data.writing import remove_parts, write_whole
from dmnplus.kernels import products
from dmnplus.model import DMN
from dmnplus.model.ensemble import NOT_CLASSES, Ensemble
from dmnplus.training.batched import train_together
from dmnplus.training.checkpoint import (
    CHECKPOINT,
    CONFIG,
    FORMAT,
    METRICS,
    PICTURES,
    RUN,
    VOCABULARY,
    WEIGHTS,
    read_json,
    read_tensors,
    versions,
    write_json,
    write_tensors,
)
from dmnplus.training.device import find_device, keep_freed_memory
from dmnplus.training.metrics import Evaluation, evaluate
from dmnplus.training.resuming import check_data, check_origin, check_settings, check_starts
from dmnplus.training.spread import spread
from dmnplus.training.trainer import DataConfig, Epoch, Fit, Step, Trainer
from dmnplus.training.transfer import Origin, transfer

_Network = TypeVar("_Network", bound=DMN)


class Start(NamedTuple):
    """One training start, as a worker process receives it."""

    folder: Path
    config: Config
    seed: int
    vocabulary: Vocabulary
    training: Questions
    validation: Questions
    threads: int
    resume: bool
    record: dict[str, Any]
    pictures: PictureFormat | None
    device: str
    origin: Origin | None = None


class Progress(NamedTuple):
    """News of one start, for whoever watches."""

    folder: Path
    event: Step | Epoch


class Job(NamedTuple):
    """A run to do: `starts` starts with seeds from `seed` on, into `folder`."""

    folder: Path
    config: Config
    splits: Splits
    seed: int
    starts: int
    pictures: Pictures | None = None
    ensemble: bool = False
    """Whether the mean of all starts answers, and not the best one alone."""
    origin: Origin | None = None
    """The trained model whose weights every start begins with; None begins at random."""


def train_runs(
    jobs: Sequence[Job],
    *,
    processes: int = 1,
    threads: int = 0,
    resume: bool = False,
    device: str = "cpu",
    together: bool = False,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> list[dict[str, Any]]:
    """Train every start of every job, `processes` at a time, and return each job's record (`run.json`).

    `threads` is for each process; 0 shares the machine's cores out, and resumes a start with the number that it began
    with. `together` trains the starts of a job as one batched model, in this process (see `train_together`). A finished
    or interrupted run in a job's folder is an error unless `resume`, and one of other settings, seeds or questions in
    any case (see `check_resumed`); more starts than before are added. Interrupted, every folder holds the best model of
    the epochs finished by then. A start that fails, as by a loss that is no number, is left out and named in the record
    (`failed`); if none of a job is left, `DataError` says why once the others have been trained. Raises `ValueError`
    for a device that is not there, `together` with several processes, and an ensemble of one start or of decoders.
    """
    device = str(find_device(device))
    if together and processes > 1:
        raise ValueError(f"starts trained together share one process, and {processes} are asked for")
    for job in jobs:
        # Starts that were killed are not published.
        if not resume and [*job.folder.glob(RUN), *job.folder.glob(f"start-*/{RUN}")]:
            raise DataError(f"{job.folder} holds a run already; give --resume to go on with it, or another --out")
        if job.ensemble and job.starts == 1:
            raise ValueError("an ensemble of one start is none; give --starts")
        if job.ensemble and job.config.model.answer != "class":
            raise ValueError(NOT_CLASSES)
    share = max(1, torch.get_num_threads() // processes)
    starts = [start for job in jobs for start in starts_of(job, threads, resume, device, share)]
    failed: dict[Path, str] = {}
    try:
        if together:
            for job in jobs:
                folders = set(_start_folders(job))
                if own := [start for start in starts if start.folder in folders]:
                    train_batched(own, watch)
        else:
            with closing(spread(train_start, starts, processes=processes, watch=watch)) as ended:
                for done in ended:
                    if done.error:
                        failed[done.folder] = done.error
    except DataError:
        for job in jobs:
            _clear(job)
        raise
    finally:
        for job in jobs:
            publish(job, failed)
    trained = [job for job in jobs if any(folder not in failed for folder in _start_folders(job))]
    records = [finish(job, device) for job in trained]
    if len(trained) < len(jobs):
        for job in jobs:
            _clear(job)
        raise DataError("; ".join(f"{folder}: {error}" for folder, error in failed.items()))
    return records


def train_start(start: Start, report: Callable[[Progress], None]) -> Fit:
    """Train one start in its folder, which then holds a complete model (see `checkpoint`)."""
    fit = _prepare(start).fit(start.training, start.validation, lambda event: report(Progress(start.folder, event)))
    _note(start, fit)
    return fit


def train_batched(starts: Sequence[Start], report: Callable[[Progress], None]) -> list[Fit]:
    """Train starts of one shape as one batched model, each into its folder as `train_start` would."""
    fits = train_together(
        [_prepare(start) for start in starts],
        [start.training for start in starts],
        [start.validation for start in starts],
        lambda run, event: report(Progress(starts[run].folder, event)),
    )
    for start, fit in zip(starts, fits, strict=True):
        _note(start, fit)
    return fits


def _prepare(start: Start) -> Trainer:
    """The trainer of a start, and its folder with all but the weights."""
    torch.set_num_threads(start.threads)
    keep_freed_memory()
    folder, vocabulary = start.folder, start.vocabulary
    torch.manual_seed(start.seed)
    # Drawn on the CPU, so that a seed is the same start on every device.
    model = build(start.config, vocabulary, start.pictures)
    if start.origin:
        transfer(start.origin, load_model(start.origin.folder), start.config, vocabulary, model)
    model = model.to(start.device)
    folder.mkdir(parents=True, exist_ok=True)
    remove_parts(folder)
    trainer = Trainer(
        model,
        start.config.training,
        folder,
        seed=start.seed,
        metadata=weights_metadata(start.config, vocabulary, start.pictures),
    )
    # It may refuse what is in the folder, which is then left as it is.
    if start.resume:
        trainer.resume()
    write_json(folder / RUN, start.record)
    write_whole(folder / CONFIG, tomli_w.dumps(plain(start.config)))
    write_json(folder / VOCABULARY, vocabulary.plain())
    if start.pictures:
        write_json(folder / PICTURES, asdict(start.pictures))
    return trainer


def _note(start: Start, fit: Fit) -> None:
    # Of the machine that trained, which need not be the one that wrote the record.
    multiplied = {"products": products()} if start.device == "cpu" else {}
    write_json(start.folder / RUN, {**start.record, **multiplied, "finished": True, "fit": asdict(fit)})


def build(
    config: Config, vocabulary: Vocabulary, pictures: PictureFormat | None = None, kind: type[_Network] = DMN
) -> _Network:
    """The network of `config` for `vocabulary` and `pictures` (None for text alone), freshly initialised."""
    return kind(
        config.model,
        words=len(vocabulary.words),
        answers=len(vocabulary.answers),
        answer_words=len(vocabulary.answer_words),
        pictures=pictures,
    )


def publish(job: Job, failed: Mapping[Path, str]) -> None:
    """Write the best start by validation loss, or the ensemble of the starts, finished or not, to the run's folder.

    Starts that `failed`, with the reason, are left out.
    """
    folders = _start_folders(job)
    if folders == [job.folder]:
        return
    remove_parts(job.folder)
    reasons = {folder.name: failed[folder] for folder in folders if folder in failed}
    folders = [folder for folder in folders if folder not in failed]
    tried = {folder: best for folder in folders if (best := _best_loss(folder)) is not None}
    if not tried:
        return
    best = min(tried, key=lambda folder: tried[folder])
    for name in (CONFIG, VOCABULARY, METRICS, *([PICTURES] if job.pictures else [])):
        write_whole(job.folder / name, (best / name).read_bytes())
    starts = {folder.name: read_json(folder / RUN) for folder in tried}
    finished = len(tried) == len(folders) and all(start["finished"] for start in starts.values())
    record = {**starts[best.name], "selected": best.name, "finished": finished}
    if reasons:
        record["failed"] = reasons
    if job.ensemble and len(tried) > 1:
        _join([*tried], job.folder)
        record["ensemble"] = len(tried)
    else:
        write_whole(job.folder / WEIGHTS, (best / WEIGHTS).read_bytes())
    write_json(job.folder / RUN, {**record, "starts": {name: _start_summary(s) for name, s in starts.items()}})


def _clear(job: Job) -> None:
    """Remove what a run that failed has written, where no epoch of it has ended: its folder is free for another."""
    folders = _start_folders(job)
    if any((folder / name).exists() for folder in folders for name in (WEIGHTS, METRICS, CHECKPOINT)):
        return
    for folder in (folder for folder in folders if (folder / RUN).exists()):
        for name in (CONFIG, VOCABULARY, RUN, *([PICTURES] if job.pictures else [])):
            (folder / name).unlink(missing_ok=True)
    for folder in (*folders, job.folder):
        # What somebody else put there keeps it.
        with suppress(OSError):
            folder.rmdir()


def _join(starts: Sequence[Path], folder: Path) -> None:
    """Write the ensemble of `starts` to `folder`, which has their config and vocabulary already."""
    config, vocabulary, first = load_model(starts[0])
    ensemble = Ensemble([first, *(load_model(start)[2] for start in starts[1:])])
    metadata = weights_metadata(config, vocabulary, first.pictures, members=len(starts))
    write_tensors(folder / WEIGHTS, ensemble.state_dict(), metadata)


def finish(job: Job, device: str = "cpu") -> dict[str, Any]:
    """Measure every start on the test questions, for the spread, and an ensemble; the selection has been made before.

    An ensemble's `fit` has its own validation loss, and the sum of its starts' epochs and seconds.
    """
    record = read_json(job.folder / RUN)
    starts = record.get("starts", {})

    def measured(folder: Path, examples: Sequence[Example]) -> Evaluation:
        return measure(folder, examples, pictures=job.pictures, device=device)

    if "ensemble" in record:
        validation, fits = measured(job.folder, job.splits.validation), [start["fit"] for start in starts.values()]
        sums = {key: sum(fit[key] for fit in fits) for key in ("best_epoch", "epochs", "seconds")}
        fit = Fit(validation_loss=validation.loss, validation_error=validation.error, **sums)
        record["fit"] = asdict(fit)
    if job.splits.test:
        tests, failed = {}, record.get("failed", {})
        for folder in (folder for folder in _start_folders(job) if folder.name not in failed):
            tests[folder.name] = measured(folder, job.splits.test)
            write_json(folder / RUN, {**read_json(folder / RUN), "test": tests[folder.name].to_json()})
        together = "ensemble" in record
        chosen = measured(job.folder, job.splits.test) if together else tests[record.get("selected", job.folder.name)]
        record["test"] = chosen.to_json()
        for name, summary in starts.items():
            summary["test_error"] = tests[name].error
    write_json(job.folder / RUN, record)
    return record


def measure(
    folder: Path, examples: Sequence[Example], *, pictures: Pictures | None = None, device: str = "cpu"
) -> Evaluation:
    """The model in a run's or a start's folder on `examples`, whose pictures are read from `pictures`.

    Raises as `load_model`.
    """
    config, vocabulary, model = load_model(folder, device)
    questions = encode(examples, vocabulary, last_facts=config.data.last_facts, pictures=pictures)
    return evaluate(model, questions, examples)


def load_model(folder: Path, device: str = "cpu", kind: type[_Network] = DMN) -> tuple[Config, Vocabulary, _Network]:
    """Config, vocabulary and network (of class `kind`, on `device`) of a run's or a start's folder.

    Raises `ValueError` for a device that is not there, and `DataError` with the reason for a folder that holds no
    model, a damaged file, another format, or weights that belong to another vocabulary or config.
    """
    if not (folder / WEIGHTS).exists():
        raise DataError(f"{folder}: no trained model here ({WEIGHTS} is missing); `dmnplus train` makes one")
    tensors, metadata = read_tensors(folder / WEIGHTS)
    if metadata.get("format") != FORMAT:
        raise DataError(
            f"{folder}: the weights have format {metadata.get('format')}, this version of dmnplus reads {FORMAT}; "
            "train again, or install the version named in run.json"
        )
    try:
        config = parse(tomllib.loads((folder / CONFIG).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / CONFIG}: {error}") from None
    try:
        vocabulary = Vocabulary.parse(read_json(folder / VOCABULARY))
    except (TypeError, AttributeError):
        raise DataError(f"{folder / VOCABULARY}: not a vocabulary of dmnplus") from None
    pictures, members = _read_pictures(folder), metadata.get("members", 1)
    if metadata != weights_metadata(config, vocabulary, pictures, members):
        raise DataError(
            f"{folder}: {VOCABULARY}, {PICTURES} or {CONFIG} does not belong to {WEIGHTS} (their fingerprints differ); "
            "put back the files of one training run"
        )
    if members == 1:
        model = build(config, vocabulary, pictures, kind)
    elif kind is DMN:
        model = cast(_Network, Ensemble([build(config, vocabulary, pictures) for _ in range(members)]))
    else:
        raise DataError(f"{folder}: holds an ensemble of {members} starts, and one network is asked for; name a start")
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise DataError(f"{folder / WEIGHTS}: does not fit the network of {CONFIG}: {error}") from None
    return config, vocabulary, model.to(find_device(device))


def _read_pictures(folder: Path) -> PictureFormat | None:
    if not (folder / PICTURES).exists():
        return None
    try:
        return PictureFormat(**read_json(folder / PICTURES))
    except TypeError:
        raise DataError(f"{folder / PICTURES}: not a format of pictures of dmnplus") from None


def weights_metadata(
    config: Config, vocabulary: Vocabulary, pictures: PictureFormat | None, members: int = 1
) -> dict[str, Any]:
    """What ties weights to their vocabulary, network and format of pictures; `members` is the size of an ensemble."""
    default = plain(Config())["model"]
    # Only what differs, so that a setting added later does not part weights from their config.
    changed = {key: value for key, value in plain(config)["model"].items() if value != default[key]}
    return {
        "format": FORMAT,
        "vocabulary": _fingerprint(vocabulary.plain()),
        "model": _fingerprint(changed),
        **({"pictures": _fingerprint(asdict(pictures))} if pictures else {}),
        **({"members": members} if members > 1 else {}),
    }


def _fingerprint(content: dict[str, Any]) -> str:
    # Tuples and lists print alike after this, wherever they were read from.
    normal = {key: list(value) if isinstance(value, list | tuple) else value for key, value in content.items()}
    return hashlib.sha256(repr(sorted(normal.items())).encode()).hexdigest()


def starts_of(job: Job, threads: int, resume: bool, device: str = "cpu", share: int = 1) -> Iterator[Start]:
    """The starts of `job` that are left to train; `resume` leaves out those that are finished.

    With 0 `threads` a resumed start has those that it began with, as others round differently, and a new one `share`.

    Raises `DataError` for questions that cannot be trained on, and where the folder to resume in holds another run.
    """
    splits, digests = job.splits, job.splits.digests
    if resume:
        check_resumed(job)
    if not splits.validation:
        raise DataError(f"{splits.name}: no questions to validate on")
    answers, last_facts = job.config.data.answers, job.config.data.last_facts
    if answers:
        splits = replace(splits, training=with_common_answers(splits.training, answers))
    vocabulary = vocabulary_of(splits, job.config.data)
    training = encode(splits.training, vocabulary, last_facts=last_facts, pictures=job.pictures)
    _check_answers(splits.training, training, job.config)
    validation = encode(splits.validation, vocabulary, last_facts=last_facts, pictures=job.pictures)
    if _lost(validation, job.config).all():
        # Which would have no loss, and so the best of all.
        raise DataError(f"{splits.name}: no answer to validate on is among those of training; give more questions")
    pictures = job.pictures.format if job.pictures else None
    origin = job.origin.record if job.origin else None
    for i, folder in enumerate(_start_folders(job)):
        begun = read_json(folder / RUN) if resume and (folder / RUN).exists() else {}
        if begun.get("finished"):
            continue
        used = threads or begun.get("threads", share)
        record = {
            "data": splits.name,
            "files": digests,
            **({"pictures": asdict(pictures)} if pictures else {}),
            **({"sources": dict(splits.sources)} if splits.sources else {}),
            **({"origin": origin} if origin else {}),
            "config": plain(job.config),
            "questions": {"training": len(training), "validation": len(validation), "test": len(splits.test)},
            "seed": job.seed + i,
            "threads": used,
            "device": device,
            "versions": versions(),
            "finished": False,
        }
        yield Start(
            folder,
            job.config,
            job.seed + i,
            vocabulary,
            training,
            validation,
            used,
            resume,
            record,
            pictures,
            device,
            job.origin,
        )


def check_resumed(job: Job) -> None:
    """Raises `DataError` where `job`'s folder holds a run of other settings, seeds, starts or questions."""
    check_starts(job.folder, job.starts, ensemble=job.ensemble)
    origin = job.origin.record if job.origin else None
    for i, folder in enumerate(_start_folders(job)):
        if not (folder / RUN).exists():
            continue
        record = read_json(folder / RUN)
        check_settings(record, job.config, job.seed + i, folder)
        check_data(record, job.splits.digests, job.pictures, folder)
        check_origin(record, origin, folder)
        # Records of old have no digests, but a name.
        if "files" not in record and record.get("data") != job.splits.name:
            raise DataError(f"{folder}: is of {record.get('data')}; resume with the same data, or give another --out")


def vocabulary_of(splits: Splits, data: DataConfig) -> Vocabulary:
    """The words and answers of the training questions, with the placeholders that `data` asks for."""
    return build_vocabulary(splits, anonymous=data.anonymous_names, rare=data.anonymous_words)


def build_vocabulary(splits: Splits, *, anonymous: bool = False, rare: int = 0) -> Vocabulary:
    """The words and answers of the training questions.

    `anonymous` puts placeholders in the place of names, and `rare` in that of words in at most so many stories.
    """
    training = splits.training
    sentences, answers = [*iter_sentences(training)], [example.answer for example in training]
    names = find_names(sentences, answers) if anonymous else frozenset()
    if rare:
        names |= find_rare(training, rare)
    # Placeholders that no story of training has would not be learnt.
    if not names:
        return Vocabulary.build(sentences, answers, separator=splits.separator)
    most = max(
        len({word for text in iter_sentences([example]) for w, _ in iter_words(text) if (word := w.lower()) in names})
        for example in training
    )
    # Room for stories with more names than training has; each placeholder is learnt, as each stands in any story.
    room = max(2 * most, FEWEST_NAMES)
    return Vocabulary.build(
        sentences, answers, names=names, placeholders=room, separator=splits.separator, unseen=rare > 0
    )


FEWEST_NAMES = 8


def _check_answers(examples: Sequence[Example], questions: Questions, config: Config) -> None:
    """Raises `DataError` for training questions that have no answer to learn: names that nothing stands for."""
    by_word = config.model.answer == "words"
    lost = [example for example, none in zip(examples, _lost(questions, config).tolist(), strict=True) if none]
    if lost:
        answer = " ".join(lost[0].answer)
        hint = "" if by_word or len(lost[0].answer) == 1 else ", or decode it with --set model.answer=words"
        raise DataError(
            f"{lost[0].source}: with data.anonymous_names the answer {answer!r} cannot be learnt (nor those of "
            f"{len(lost) - 1} more questions): its name is not in the story, or not alone{hint}"
        )


def _lost(questions: Questions, config: Config) -> torch.Tensor:
    """Which questions have an answer that the network cannot give, [N]; they carry no loss."""
    by_word = config.model.answer == "words"
    return (questions.answer_words_NL[:, 0] if by_word else questions.answers_N) == NO_ANSWER


def _start_folders(job: Job) -> list[Path]:
    return [job.folder] if job.starts == 1 else [job.folder / f"start-{i + 1}" for i in range(job.starts)]


def _start_summary(record: dict[str, Any]) -> dict[str, Any]:
    return {key: record[key] for key in ("seed", "finished", "fit") if key in record}


def _best_loss(folder: Path) -> float | None:
    if not (folder / METRICS).exists() or not (folder / WEIGHTS).exists():
        return None
    lines = (folder / METRICS).read_text(encoding="utf-8").splitlines()
    return min((json.loads(line)["validation_loss"] for line in lines), default=None)
