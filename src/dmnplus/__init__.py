"""Dynamic Memory Networks (DMN+, Xiong, Merity and Socher 2016) that answer questions and show why."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dmnplus.answering import Answer, QuestionAnswerer, load
    from dmnplus.data.example import DataError, Example
    from dmnplus.model import VARIANTS, NetworkConfig
    from dmnplus.pretrained.hub import DMN

__all__ = ["DMN", "VARIANTS", "Answer", "DataError", "Example", "NetworkConfig", "QuestionAnswerer", "load"]

_MODULES = {
    "dmnplus.answering": ("Answer", "QuestionAnswerer", "load"),
    "dmnplus.data.example": ("DataError", "Example"),
    "dmnplus.model": ("VARIANTS", "NetworkConfig"),
    "dmnplus.pretrained.hub": ("DMN",),
}


def __getattr__(name: str) -> Any:
    # On first use: PyTorch takes seconds to import, and reading or generating data does not need it.
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
