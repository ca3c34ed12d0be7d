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
from dmnplus.training.files import (
    CHECKPOINT,
    CONFIG,
    FORMAT,
    METRICS,
    PICTURES,
    RUN,
    VOCABULARY,
    WEIGHTS,
    read_json,
    write_json,
)

__all__ = [
    "CHECKPOINT",
    "CONFIG",
    "FORMAT",
    "METRICS",
    "PICTURES",
    "RUN",
    "VOCABULARY",
    "WEIGHTS",
    "read_json",
    "read_tensors",
    "versions",
    "write_json",
    "write_tensors",
]


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
