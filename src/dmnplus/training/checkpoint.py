"""Files of a run: written whole or not at all, weights as safetensors, nothing ever unpickled."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

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


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Tensors by name, with `metadata` as JSON in the file's own header."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_whole(path, save(contiguous, metadata={"dmnplus": json.dumps(metadata)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        # framework="pt" maps the file; clones make the tensors ordinary memory that training may write to.
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get("dmnplus", "{}"))
            return {name: file.get_tensor(name).clone() for name in file.keys()}, metadata  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise DataError(f"{path}: not readable as safetensors: {error}") from None


def versions() -> dict[str, str]:
    """What a run was made with."""
    return {"dmnplus": version("dmnplus"), "torch": torch.__version__, "python": platform.python_version()}
