"""What the files of a run are called, and its JSON. Without PyTorch, which takes seconds to import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dmnplus.data.example import DataError
from dmnplus.data.writing import write_whole

FORMAT = 1
"""Raised whenever an older program could not read what this one writes, or the other way round."""

WEIGHTS, VOCABULARY, PICTURES, CONFIG, METRICS, CHECKPOINT, RUN = (
    "weights.safetensors",
    "vocabulary.json",
    "pictures.json",
    "config.toml",
    "metrics.jsonl",
    "checkpoint.safetensors",
    "run.json",
)


def write_json(path: Path, content: Any) -> None:
    write_whole(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path}: damaged: {error}") from None
