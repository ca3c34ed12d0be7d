"""The card as people read it, in the form of the Hugging Face Hub: YAML, then Markdown."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from dmnplus.config import differences, parse, plain
from dmnplus.data.example import Example, Picture
from dmnplus.data.generate import TASKS
from dmnplus.pretrained.card import Card

_BABI = re.compile(r"babi/(\d+) \((.*)\)")
_JOINT = re.compile(r"babi/([\d,-]+), one model \((.*)\)")
_DEFAULT_LANGUAGE = "en-10k"


def title(data: str) -> str:
    """What a model that was trained on `data` answers, in words."""
    if match := _BABI.fullmatch(data):
        return f"bAbI task {match[1]}, {TASKS[int(match[1])].stem.replace('-', ' ')}"
    if match := _JOINT.fullmatch(data):
        return f"bAbI tasks {match[1]}, one model"
    return "drawn scenes" if data == "scenes" else data


def training_command(record: Mapping[str, Any]) -> str:
    """The command that trains a run again, from its record; files of the user's own go by their kind, in capitals.

    A run that began with another one's weights takes that one's command first.
    """
    dataset, task = record["data"].partition(" ")[0], None
    if match := _BABI.fullmatch(record["data"]):
        arguments, task = ["babi", "--task", match[1]], int(match[1])
        # Older records name the sources of training questions only in what they call the data.
        sources = record.get("sources") or ({"train": match[2].split(", ")} if ":" in match[2] else {})
        if not sources and match[2] != _DEFAULT_LANGUAGE:
            arguments += ["--language", match[2]]
        arguments += [part for role, named in sources.items() for source in named for part in (f"--{role}", source)]
    elif match := _JOINT.fullmatch(record["data"]):
        arguments = ["babi", "--task", match[1], "--joint"]
        arguments += ["--language", match[2]] if match[2] != _DEFAULT_LANGUAGE else []
    elif dataset == "own":
        arguments = ["own", "DATA"]
        arguments += [part for role in record["files"] if role != "data" for part in (f"--{role}", role.upper())]
    else:
        arguments = ["pictures", dataset, "--data", dataset]
        arguments += ["--blind"] if record["data"].endswith(" without pictures") else []
    # Parsed, so that a setting that came after the run is one that the run did without.
    variant, settings = differences(plain(parse(record["config"])), task)
    arguments += ["--variant", variant] if variant != "dmn+" else []
    arguments += [part for setting in settings for part in ("--set", setting)]
    starts = record.get("starts", {})
    first = min((start["seed"] for start in starts.values()), default=record["seed"])
    arguments += ["--starts", str(len(starts))] if starts else []
    arguments += ["--ensemble"] if "ensemble" in record else []
    arguments += ["--seed", str(first)] if first else []
    command = ["dmnplus", "train", *arguments]
    if (origin := record.get("origin")) and origin["run"]:
        begun = training_command(origin["run"])
        # Each training of a chain has a folder of its own.
        folder = f"runs/begun-{begun.count(' && ') + 1}"
        return f"{begun} --out {folder} && {shlex.join([*command, '--from', folder])}"
    command += ["--from", origin["name"]] if origin else []
    return shlex.join(command)


_PAPER = "https://arxiv.org/abs/1603.01417"
_SOURCES = {
    "babi": "[bAbI](https://arxiv.org/abs/1502.05698) 1.2 (Weston et al. 2015, CC BY 3.0), `dmnplus data get babi`",
    "scenes": "scenes that `dmnplus data scenes` draws, their questions and answers with them",
}


def readme(card: Card, record: Mapping[str, Any], examples: Sequence[Example]) -> str:
    """The text of README.md."""
    family = card.data.partition("/")[0].partition(" ")[0]
    variant, _ = differences(record["config"])
    test, fit = record["test"], record["fit"]
    head = {
        "license": "apache-2.0",
        "library_name": "dmnplus",
        "language": "en",
        "pipeline_tag": "visual-question-answering" if card.reads_pictures else "question-answering",
        "tags": ["dynamic-memory-network", variant, family],
        "model-index": [_index(card)],
    }
    lines = ["---", *(f"{key}: {json.dumps(value)}" for key, value in head.items()), "---", ""]
    lines += [
        f"# {card.name}: {card.title}",
        "",
        f"A Dynamic Memory Network ({variant}) after [Xiong, Merity and Socher 2016]({_PAPER}) with "
        f"{card.weights:,} weights, stored in half precision and computed in single precision.",
        "",
        "```",
        f"dmnplus ask --model {card.name}{_images(examples)}",
        "```",
        "",
        "## Measured",
        "",
        f"Test error {card.error:.1%} on {card.questions:,} questions ({card.tested_on}), with the weights as stored.",
        "",
        "| type of question | questions | error |",
        "|---|---|---|",
        *(f"| {kind} | {figures['questions']} | {figures['error']:.1%} |" for kind, figures in test["by_kind"].items()),
        "",
    ]
    if attention := test.get("attention"):
        lines += [
            f"Of the facts it used, {attention['precision']:.1%} are labelled as supporting the answer; of those "
            f"labelled, it used {attention['recall']:.1%}.",
            "",
        ]
    lines += [
        "## Trained",
        "",
        "```",
        card.command,
        "```",
        "",
        f"On {card.data}, {record['questions']['training']:,} questions and {record['questions']['validation']:,} to "
        f"validate on, seed {card.seed}, best epoch {fit['best_epoch']} of {fit['epochs']}; "
        + ", ".join(f"{name} {version}" for name, version in card.versions.items())
        + f"; card of {card.date}.",
        "",
    ]
    if source := _SOURCES.get(family):
        lines += [f"Data: {source}.", ""]
    if examples:
        lines += ["## Try", "", *_story(examples[0]), ""]
    lines += [
        "## Limits",
        "",
        "It knows only the words and the answers of its training data, and answers by their rules. To a question about "
        "anything else it still gives one of its answers.",
        "",
    ]
    return "\n".join(lines)


def _index(card: Card) -> dict[str, Any]:
    return {
        "name": card.name,
        "results": [
            {
                "task": {"type": "visual-question-answering" if card.reads_pictures else "question-answering"},
                "dataset": {"name": card.tested_on, "type": card.data.partition(" ")[0]},
                "metrics": [{"type": "accuracy", "value": round(1 - card.error, 6), "name": "test accuracy"}],
            }
        ],
    }


def _images(examples: Sequence[Example]) -> str:
    shown = [fact for fact in examples[0].facts if isinstance(fact, Picture)] if examples else []
    return "".join(f" --image {fact.path.rpartition('/')[2]}" for fact in shown)


def _story(example: Example) -> list[str]:
    told = [f"![](./{fact.path.rpartition('/')[2]})" if isinstance(fact, Picture) else fact for fact in example.facts]
    return [*(f"- {fact}" for fact in told), "", f"{example.question} **{example.answer_text}**"]
