"""What is measured, a function a section: each prints its table and returns its figures, times in seconds."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks import memory as process
from benchmarks.arithmetic import baseline_bytes, forward_operations, training_operations
from benchmarks.baseline import Fusion
from benchmarks.timing import Spread, exponent, in_turns, large_product, ratio, timed
from benchmarks.workload import ANSWERS, Pair, Shape, batch_of, our_network, our_step, questions
from dmnplus import Example, QuestionAnswerer
from dmnplus.config import Config, resolve
from dmnplus.data.babi import find_babi, read_babi
from dmnplus.data.batching import Batch, encode
from dmnplus.data.example import DataError, iter_sentences, split_validation
from dmnplus.data.vocabulary import Vocabulary
from dmnplus.model.episodic_memory import AttentionGRU, EpisodicMemory
from dmnplus.training.batched import train_together
from dmnplus.training.metrics import evaluate
from dmnplus.training.run import build
from dmnplus.training.trainer import Epoch, Step, Trainer, TrainingConfig

Figures = list[dict[str, Any]]

Size = Literal["full", "quick", "tiny"]
_Sizes = TypeVar("_Sizes")
_LONGEST_STEP = 2.0
"""Seconds: a baseline that takes longer for one step is not waited for."""


@dataclass(frozen=True)
class Bench:
    """Where and how thoroughly to measure."""

    console: Console
    device: torch.device
    backend: str
    fusion: Fusion
    size: Size
    seconds: float
    learn_seconds: float
    clock: str

    def pick(self, full: _Sizes, quick: _Sizes, tiny: _Sizes) -> _Sizes:
        return {"full": full, "quick": quick, "tiny": tiny}[self.size]

    def turns(self, runs: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
        if self.size == "tiny":
            return in_turns(runs, self.device, seconds=0.0, least=2, most=2, clock=self.clock)
        return in_turns(runs, self.device, seconds=self.seconds, clock=self.clock)

    def table(self, title: str, *columns: str) -> Table:
        table = Table(caption=title, box=None, header_style="dim")
        for column in columns:
            table.add_column(column, justify="right")
        return table

    def show(self, table: Table) -> None:
        # Above the table and not as its title, which would be folded to the table's width.
        title, table.caption = table.caption, None
        self.console.print(f"\n{title}", style="bold", highlight=False, soft_wrap=True)
        self.console.print(table)

    def skip(self, what: object, why: str) -> None:
        self.console.print(f"skipped: {what}: {why}", highlight=False, soft_wrap=True)


def speed(bench: Bench) -> Figures:
    """Training step and inference, ours beside the baseline."""
    found: Figures = []
    hiddens = bench.pick((80, 512), (80,), (8,))
    batches = bench.pick((1, 128, 1024), (128,), (3,))
    facts = bench.pick((1, 10, 40, 130, 1000), (10, 40, 130), (1, 4))
    for what in ("training", "inference"):
        columns = ("facts", "batch", "hidden", "baseline ms", "ours ms", "ratio", "quartiles", "rounds")
        table = bench.table(f"{what}, ours beside the baseline", *columns)
        for hidden in hiddens:
            for batch in batches:
                before: tuple[int, float] | None = None
                # On a GPU also the 196 regions of a picture.
                pictures = (196,) if bench.device.type == "cuda" and bench.size != "tiny" else ()
                for F in sorted({*facts, *pictures}):
                    shape = Shape(facts=F, batch=batch, hidden=hidden)
                    if (why := _too_much(bench, shape, what, before)) is not None:
                        bench.skip(f"{what}, {shape}", why)
                        found.append({"run": what, **asdict(shape), "skipped": why})
                        continue
                    times = bench.turns(Pair.of(shape, bench.device, bench.fusion).runs(what))
                    figures = _pair_figures(times)
                    before = F, figures["baseline"].median
                    found.append({"run": what, **asdict(shape), **figures})
                    table.add_row(str(F), str(batch), str(hidden), *_pair_cells(figures))
        bench.show(table)
    return found


def limit(bench: Bench) -> Figures:
    """The share of the arithmetic limit: the products of the mathematics at the rate of a large one, over our time."""
    found: Figures = []
    product, operations = large_product(bench.device)
    columns = ("run", "facts", "hidden", "GFLOP", "at the limit ms", "ours ms", "share", "quartiles", "rate GFLOP/s")
    batch = bench.pick(128, 128, 4)
    table = bench.table(f"share of the arithmetic limit, batch {batch}", *columns)
    facts = bench.pick((10, 40, 130, 1000), (40,), (4,))
    for hidden in bench.pick((80, 512), (80,), (8,)):
        for F in facts:
            shape = Shape(facts=F, hidden=hidden, batch=batch)
            pair = Pair.of(shape, bench.device, bench.fusion)
            for what, count in (("training", training_operations(shape)), ("inference", forward_operations(shape))):
                if count * _seconds_an_operation(bench) > _LONGEST_STEP:
                    bench.skip(f"{what}, {shape}", f"a step has {count / 1e9:.0f} GFLOP")
                    continue
                if (why := _no_room(bench, 0.5 * baseline_bytes(shape, training=what == "training"))) is not None:
                    bench.skip(f"{what}, {shape}", why)
                    continue
                # The product takes turns with the step: both meet the same clock and the same neighbours.
                times = bench.turns({"ours": pair.runs(what)["ours"], "product": product})
                shares = [count / operations * p / o for o, p in zip(times["ours"], times["product"], strict=True)]
                share, ours, large = Spread.of(shares), Spread.of(times["ours"]), Spread.of(times["product"])
                found.append(
                    {
                        "run": what,
                        **asdict(shape),
                        "operations": count,
                        "rate": operations / large.median,
                        "ours": ours,
                        "share": share,
                    }
                )
                table.add_row(
                    what,
                    str(F),
                    str(hidden),
                    f"{count / 1e9:.2f}",
                    _ms(count / operations * large.median),
                    _ms(ours.median),
                    f"{share.median:.0%}",
                    f"{share.low:.0%} to {share.high:.0%}",
                    f"{operations / large.median / 1e9:.0f}",
                )
    bench.show(table)
    return found


def scaling(bench: Bench) -> Figures:
    """The cost of a training step against each size, all others at 40 facts, batch 128, hidden 80, 3 passes."""
    sizes: dict[str, Sequence[int]] = {
        "facts": bench.pick((10, 20, 40, 80, 160, 320), (10, 40, 160), (2, 4, 8)),
        "batch": bench.pick((1, 8, 32, 128, 512), (8, 32, 128), (1, 2, 4)),
        "passes": bench.pick((1, 2, 3, 5, 8), (1, 3, 8), (1, 2, 3)),
        "hidden": bench.pick((20, 40, 80, 160, 320, 512), (40, 80, 160), (4, 8, 16)),
    }
    middle = bench.pick(Shape(facts=40), Shape(facts=40), Shape(facts=4, batch=3, hidden=8))
    found: Figures = []
    table = bench.table("cost of a training step", "against", "sizes", "network", "ms", "exponent", "of the last three")
    for axis, taken in sizes.items():
        times: dict[str, list[float]] = {"baseline": [], "ours": []}
        for value in taken:
            shape = replace(middle, **{axis: value})
            turns = bench.turns(Pair.of(shape, bench.device, bench.fusion).runs("training"))
            for name, seconds in times.items():
                seconds.append(Spread.of(turns[name]).median)
        for name, seconds in times.items():
            over_all, last = exponent(taken, seconds), exponent(taken[-3:], seconds[-3:])
            found.append(
                {
                    "against": axis,
                    "sizes": list(taken),
                    "network": name,
                    "seconds": seconds,
                    "exponent": over_all,
                    "exponent of the last three": last,
                    "others": {k: v for k, v in asdict(middle).items() if k != axis},
                }
            )
            cells = " ".join(map(str, taken)), name, " ".join(map(_ms, seconds)), f"{over_all:.2f}", f"{last:.2f}"
            table.add_row(axis, *cells)
    bench.show(table)
    return found


def memory(bench: Bench) -> Figures:
    """Peak memory of a training step, each in a process of its own."""
    found: Figures = []
    batch = bench.pick(128, 128, 4)
    columns = ("facts", "hidden", "baseline MB", "ours MB", "ours")
    table = bench.table(f"peak memory of a training step, batch {batch}", *columns)
    sizes = bench.pick([(10, 80), (40, 80), (130, 80), (1000, 80), (40, 512), (130, 512)], [(130, 80)], [(4, 8)])
    for F, hidden in sizes:
        shape = Shape(facts=F, hidden=hidden, batch=batch)
        if (why := _no_room(bench, baseline_bytes(shape, training=True))) is not None:
            bench.skip(f"memory, {shape}", why)
            continue
        both = {name: _in_process(bench, shape, name, "training") for name in ("baseline", "ours")}
        found.append({**asdict(shape), **both})
        if errors := [f"{name}: {figures['error']}" for name, figures in both.items() if "error" in figures]:
            bench.skip(f"memory, {shape}", "; ".join(errors))
            continue
        ours, baseline = (both[name]["bytes"] for name in ("ours", "baseline"))
        table.add_row(str(F), str(hidden), _mb(baseline), _mb(ours), f"{ours / max(baseline, 1):.0%}")
    bench.show(table)
    return found


def latency(bench: Bench) -> Figures:
    """One answer to a 10-fact story at batch 1: through `QuestionAnswerer.answer`, and of the bare network."""
    places, people = (
        ("kitchen", "garden", "office", "hallway", "bedroom", "bathroom"),
        ("Mary", "John", "Sandra", "Daniel"),
    )
    facts = [f"{person} went to the {place}." for person in people for place in places]
    examples = [Example(facts=tuple(facts), question="Where is Mary?", answer=(place,)) for place in places]
    vocabulary = Vocabulary.build(iter_sentences(examples), (example.answer for example in examples))
    config = Config()
    model = build(config, vocabulary).to(bench.device)
    answerer = QuestionAnswerer(config, vocabulary, model)
    # Different stories, so that nothing can be kept from one answer to the next.
    stories = [[facts[(7 * i + 5 * j) % len(facts)] for j in range(10)] for i in range(24)]
    batch = batch_of(Shape(facts=10, batch=1), bench.device)
    bare = our_network(Shape(facts=10), bench.device).eval()

    def network(i: int) -> None:
        with torch.inference_mode():
            bare(batch)

    def answer(i: int) -> None:
        answerer.answer(stories[i % len(stories)], "Where is Mary?")

    calls = bench.pick(3000, 1000, 20)
    found: Figures = []
    table = bench.table("one answer, 10 facts, batch 1", "what", "median ms", "99th percentile ms", "calls")
    for name, run in (("QuestionAnswerer.answer", answer), ("bare network", network)):
        for i in range(calls // 10):
            run(i)
        seconds = [timed(partial(run, i), bench.device, bench.clock) for i in range(calls)]
        median, worst = (float(q) for q in np.quantile(seconds, (0.5, 0.99)))
        found.append({"what": name, "median": median, "99th percentile": worst, "calls": calls})
        table.add_row(name, _ms(median), _ms(worst), str(calls))
    bench.show(table)
    return found


def algebra(bench: Bench) -> Figures:
    """A training step with what the passes share made anew in every pass, or z written out, over the step as it is."""
    found: Figures = []
    table = bench.table("a training step without one saving, over the step as it is", "facts", *_UNSHARED)
    for F in bench.pick((10, 40, 130), (40,), (4,)):
        shape = Shape(facts=F, batch=bench.pick(128, 128, 4))
        batch = batch_of(shape, bench.device)
        runs: dict[str, Callable[[], object]] = {"as it is": our_step(our_network(shape, bench.device), batch)}
        for name, change in _UNSHARED.items():
            network = our_network(shape, bench.device)
            assert isinstance(network.memory, EpisodicMemory)
            change(network.memory)
            runs[name] = our_step(network, batch)
        times = bench.turns(runs)
        ratios = {name: ratio(times, name, "as it is") for name in _UNSHARED}
        found.append({**asdict(shape), **{name: Spread.of(seconds) for name, seconds in times.items()}, "over": ratios})
        table.add_row(str(F), *(f"{spread.median:.2f}x" for spread in ratios.values()))
    bench.show(table)
    return found


def _half_anew(memory: EpisodicMemory) -> None:
    half, score = memory.gate.question_half, memory.gate.forward
    asked: list[Tensor] = []

    def keep(f_BFH: Tensor, q_BH: Tensor, mask_BF: Tensor) -> Tensor:
        asked[:] = [q_BH]
        return f_BFH

    memory.gate.question_half = keep
    memory.gate.forward = lambda f_BFH, question_half_BFH, m_BH, mask_BF: score(
        f_BFH, half(f_BFH, asked[0], mask_BF), m_BH, mask_BF
    )


def _projection_anew(memory: EpisodicMemory) -> None:
    episode = memory.episode
    assert isinstance(episode, AttentionGRU)
    project, scan = episode.project, episode.forward
    # What is scanned is projected in every pass; what was projected before the passes is the facts themselves.
    episode.project = lambda f_BFH: f_BFH
    episode.forward = lambda x_BF2H, g_BF, mask_BF: scan(project(x_BF2H), g_BF, mask_BF)


def _write_z(memory: EpisodicMemory) -> None:
    memory.gate.fused = False


_UNSHARED: dict[str, Callable[[EpisodicMemory], None]] = {
    "the question's half of the gate in every pass": _half_anew,
    "the facts' projections in every pass": _projection_anew,
    "z written and kept for the backward pass": _write_z,
}


def inputs(bench: Bench) -> Figures:
    """What encoding and cutting a batch cost beside the training step that they feed."""
    found: Figures = []
    columns = ("facts", "encode ms, once", "cut a batch ms", "training step ms", "cut / step")
    table = bench.table("input beside the training step", *columns)
    for F in bench.pick((10, 40, 130), (40,), (4,)):
        shape = Shape(facts=F, batch=bench.pick(128, 128, 4))
        times = bench.turns(_input_runs(bench, shape))
        medians = {name: Spread.of(seconds) for name, seconds in times.items()}
        share = ratio(times, "cut", "step")
        found.append({**asdict(shape), **medians, "cut over step": share})
        cells = (_ms(medians[name].median) for name in ("encode", "cut", "step"))
        table.add_row(str(F), *cells, f"{share.median:.1%}")
    bench.show(table)
    return found


def _input_runs(bench: Bench, shape: Shape) -> dict[str, Callable[[], object]]:
    examples = _stories(shape.batch, shape.facts)
    vocabulary = Vocabulary.build(iter_sentences(examples), (example.answer for example in examples))
    data, draw = questions(8 * shape.batch, shape.facts), torch.Generator().manual_seed(0)

    def cut() -> Batch:
        return data.batch(torch.randint(0, len(data), (shape.batch,), generator=draw)).to(bench.device)

    step = our_step(our_network(shape, bench.device), cut())
    return {"encode": partial(encode, examples, vocabulary), "cut": cut, "step": step}


def long_stories(bench: Bench) -> Figures:
    """One question over a very long story, inference: time and peak memory, each in a process of its own."""
    found: Figures = []
    table = bench.table(
        "one question over a long story, inference, hidden 80", "facts", "seconds", "MB", "bytes a fact"
    )
    facts = bench.pick((25_000, 50_000, 100_000), (25_000, 50_000, 100_000), (500, 1000, 2000))
    for F in facts:
        shape = Shape(facts=F, batch=1)
        figures = _in_process(bench, shape, "ours", "inference")
        found.append({**asdict(shape), **figures})
        if "error" in figures:
            bench.skip(shape, figures["error"])
            continue
        table.add_row(f"{F:,}", f"{figures['seconds']:.2f}", _mb(figures["bytes"]), f"{figures['bytes'] / F:.0f}")
    bench.show(table)
    measured = [f for f in found if f.get("bytes", 0) > 0]
    if len(measured) == len(facts):
        for key in ("seconds", "bytes"):
            grows = exponent([f["facts"] for f in measured], [f[key] for f in measured])
            found.append({"against": "facts", "of": key, "exponent": grows})
            bench.console.print(f"{key} grow as facts^{grows:.2f}", highlight=False)
    return found


def restarts(bench: Bench) -> Figures:
    """Ten restarts trained as one batched model, beside one alone."""
    shape = bench.pick(Shape(facts=40), Shape(facts=40), Shape(facts=4, batch=3, hidden=8))
    steps = bench.pick(40, 10, 2)
    training, validation = questions(steps * shape.batch, shape.facts), questions(shape.batch, shape.facts, seed=1)

    def train(runs: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            config = TrainingConfig(epochs=1, batch=shape.batch)
            trainers = [
                Trainer(our_network(shape, bench.device, seed=r), config, Path(folder) / str(r), seed=r)
                for r in range(runs)
            ]
            for trainer in trainers:
                trainer.folder.mkdir()
            return timed(lambda: train_together(trainers, [training] * runs, [validation] * runs), bench.device)

    counts = bench.pick((1, 10), (1, 10), (1, 2))
    for runs in counts:
        train(runs)
    times = {runs: [train(runs) for _ in range(bench.pick(3, 2, 1))] for runs in counts}
    table = bench.table(f"restarts at once, an epoch of {steps} steps, {shape}", "restarts", "seconds", "over one")
    found: Figures = []
    for runs, seconds in times.items():
        over = Spread.of([s / one for s, one in zip(seconds, times[1], strict=True)])
        found.append(
            {"restarts": runs, "steps": steps, **asdict(shape), "seconds": Spread.of(seconds), "over one": over}
        )
        table.add_row(str(runs), f"{Spread.of(seconds).median:.2f}", f"{over.median:.2f}")
    bench.show(table)
    return found


class _Done(Exception):
    """The network makes no more errors than asked for, or has had its time."""


def learn(bench: Bench) -> Figures:
    """Training time until the official test questions are answered: task 1 without an error, task 2 to 99%."""
    try:
        archive = find_babi()
    except DataError as error:
        bench.skip("time to learn", str(error))
        return []
    found: Figures = []
    columns = ("task", "goal", "reached", "epochs", "training seconds", "seconds an epoch")
    table = bench.table("time to learn bAbI (en-10k), one start by the paper's protocol", *columns)
    for task, most_errors in ((1, 0.0), (2, 0.01)):
        figures = _learn(bench, archive, task, most_errors)
        found.append(figures)
        each = figures["seconds"] / max(figures["epochs"], 1)
        reached = f"{figures['error']:.1%} errors" + ("" if figures["reached"] else ", stopped")
        cells = f"{most_errors:.0%} errors", reached, str(figures["epochs"])
        table.add_row(str(task), *cells, f"{figures['seconds']:.0f}", f"{each:.2f}")
    bench.show(table)
    return found


def _learn(bench: Bench, archive: Path, task: int, most_errors: float) -> dict[str, Any]:
    """One start with seed 0. Testing after each epoch is not part of the seconds, validation is."""
    config = resolve(task=task, settings=["training.epochs=2"] if bench.size == "tiny" else [])
    training, validation = split_validation(read_babi(archive, task, "train"), config.data.validation_share)
    test = read_babi(archive, task, "test")
    if bench.size == "tiny":
        training, validation, test = training[:256], validation[:128], test[:128]
    vocabulary = Vocabulary.build(iter_sentences(training), (example.answer for example in training))
    learnt, checked, tested = (
        encode(part, vocabulary, last_facts=config.data.last_facts) for part in (training, validation, test)
    )
    torch.manual_seed(0)
    model = build(config, vocabulary).to(bench.device)
    figures: dict[str, Any] = {"task": task, "most errors": most_errors, "epochs": 0, "seconds": 0.0, "error": 1.0}

    def watch(event: Step | Epoch) -> None:
        if isinstance(event, Epoch):
            figures["epochs"], figures["seconds"] = event.epoch, figures["seconds"] + event.seconds
            figures["error"] = evaluate(model, tested, test).error
            model.train()
            if figures["error"] <= most_errors or figures["seconds"] > bench.learn_seconds:
                raise _Done

    with tempfile.TemporaryDirectory() as folder, suppress(_Done):
        Trainer(model, config.training, Path(folder), seed=0).fit(learnt, checked, watch)
    return {**figures, "reached": figures["error"] <= most_errors}


def _stories(count: int, facts: int) -> list[Example]:
    """Examples of text whose sentences repeat as those of the workload do."""
    data = questions(count, facts)
    words = [f"w{i}" for i in range(64)]

    def text(ids: Iterator[int]) -> str:
        return " ".join(words[i] for i in ids if i)

    sentences = [text(iter(row)) for row in data.sentences_SW.tolist()]
    return [
        Example(facts=tuple(sentences[i] for i in row), question=text(iter(q)), answer=(words[a % ANSWERS],))
        for row, q, a in zip(data.facts_NF.tolist(), data.questions_NQ.tolist(), data.answers_N.tolist(), strict=True)
    ]


def _in_process(bench: Bench, shape: Shape, network: str, run: str) -> dict[str, Any]:
    return process.measure(
        shape,
        network=network,
        run=run,
        threads=torch.get_num_threads(),
        device=str(bench.device),
        backend=bench.backend,
        fusion=bench.fusion,
    )


def _too_much(bench: Bench, shape: Shape, what: str, before: tuple[int, float] | None) -> str | None:
    """Why not to measure, from the room needed and the time that fewer facts took; None to measure."""
    if (why := _no_room(bench, baseline_bytes(shape, training=what == "training"))) is not None:
        return why
    seconds = before[1] * shape.facts / before[0] if before else 0.0
    if seconds > _LONGEST_STEP:
        return f"one step of the baseline would take about {seconds:.0f} s"
    return None


def _seconds_an_operation(bench: Bench) -> float:
    """About, of a large product."""
    if bench.device.type == "cuda":
        return 1e-13
    return 1 / (50e9 * torch.get_num_threads())


def _no_room(bench: Bench, needed: float) -> str | None:
    room = _free_bytes(bench.device)
    if needed > 0.8 * room:
        return f"the tensors need about {needed / 1e9:.0f} GB, {room / 1e9:.0f} GB are free"
    return None


def _free_bytes(device: torch.device) -> float:
    if device.type == "cuda":
        # What PyTorch keeps for itself is free to it.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2


def _pair_figures(times: dict[str, list[float]]) -> dict[str, Spread]:
    own = {name: Spread.of(seconds) for name, seconds in times.items()}
    return {**own, "ratio": ratio(times, "baseline", "ours")}


def _pair_cells(figures: dict[str, Spread]) -> list[str]:
    over = figures["ratio"]
    times = [_ms(figures[name].median) for name in ("baseline", "ours")]
    return [*times, f"{over.median:.1f}x", f"{over.low:.1f} to {over.high:.1f}", str(over.count)]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:.0f}"


def _mb(count: float) -> str:
    return f"{count / 1e6:.0f}"
