"""Which implementation a kernel runs on: `auto`, or one asked for by name."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from dmnplus.kernels import _build
from dmnplus.kernels._build import KernelUnavailableError

BACKENDS = ("auto", "cpu", "reference", "triton")

_Function = TypeVar("_Function", bound=Callable[..., object])
_LOGGER = logging.getLogger("dmnplus.kernels")
_chosen: str | None = None
_cpu_found: bool | None = None
_triton_found: bool | None = None


def _constant(function: _Function) -> _Function:
    """Has `torch.compile` take the result of `function` as it is, as `torch.compiler.assume_constant_result` does.

    That imports the whole compiler, which would double the time in which every command starts.
    """
    function._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]
    return function


def get_backend() -> str:
    """The backend asked for: by `set_backend`, else by DMNPLUS_BACKEND at the first call, else `auto`."""
    global _chosen
    if _chosen is None:
        _chosen = _checked(os.environ.get("DMNPLUS_BACKEND", "auto"), "DMNPLUS_BACKEND")
    return _chosen


def set_backend(name: str) -> None:
    """Choose the backend for the whole process.

    `auto` takes the fastest that can run and falls back to the reference; the others are taken or fail. Raises
    `ValueError` for an unknown name and `KernelUnavailableError` where `cpu` cannot be built or `triton` not imported.
    """
    global _chosen
    _checked(name, "backend")
    if name == "cpu":
        _build.load()
    if name == "triton":
        _load_triton()
    _chosen = name


@contextmanager
def backend(name: str) -> Iterator[None]:
    """`set_backend` for the length of a `with` block."""
    global _chosen
    before = get_backend()
    set_backend(name)
    try:
        yield
    finally:
        _chosen = before


def _checked(name: str, key: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"{key} is {name!r}, but must be one of {', '.join(BACKENDS)}")
    return name


def takes_cpu(*tensors: Tensor) -> bool:
    """Whether these arguments go to the compiled kernels; otherwise they go to the reference."""
    name = _chosen or get_backend()
    if name in ("reference", "triton"):
        return False
    fits = True
    for tensor in tensors:
        fits = fits and tensor.dtype is torch.float32 and tensor.is_cpu
    if name == "cpu":
        if not fits:
            kinds = ", ".join(sorted({f"{tensor.dtype} on {tensor.device}" for tensor in tensors}))
            raise ValueError(f"backend 'cpu' takes torch.float32 on cpu, not {kinds}; use 'auto' or 'reference'")
        _cpu_by_name()
        return True
    return fits and _cpu_available()


def takes_triton(*tensors: Tensor) -> bool:
    """Whether these arguments, not taken by `takes_cpu`, go to the Triton kernels; otherwise to the reference."""
    name = _chosen or get_backend()
    if name == "reference":
        return False
    fits = all(tensor.dtype is torch.float32 and tensor.is_cuda for tensor in tensors)
    if name == "triton":
        if not fits:
            kinds = ", ".join(sorted({f"{tensor.dtype} on {tensor.device}" for tensor in tensors}))
            raise ValueError(f"backend 'triton' takes torch.float32 on cuda, not {kinds}; use 'auto' or 'reference'")
        _triton_by_name()
        return True
    return fits and _triton_available()


def _load_triton() -> None:
    """Registers the Triton kernels as the CUDA side of the operators."""
    try:
        import dmnplus.kernels.attention_gate.triton
        import dmnplus.kernels.attention_gru.triton
        import dmnplus.kernels.gru.triton  # noqa: F401
    except ImportError as error:
        raise KernelUnavailableError(
            f"the GPU kernels need Triton, which cannot be imported ({error}): pip install triton"
        ) from None


def _start_triton() -> None:
    """As `_load_triton`, and whether a kernel could be launched: Triton builds its own launcher with a C compiler."""
    _load_triton()
    import triton

    try:
        triton.runtime.driver.active.get_current_target()
    except Exception as error:
        raise KernelUnavailableError(
            f"Triton cannot launch GPU kernels here ({error}); it needs a C compiler"
        ) from error


def _loads(load: Callable[[], object]) -> bool:
    """Whether `load` finds its kernels; if not, one logged line says why the reference runs instead."""
    try:
        load()
    except KernelUnavailableError as error:
        _LOGGER.warning("running on the slow reference kernels: %s", error)
        return False
    return True


@_constant
def _triton_by_name() -> bool:
    _load_triton()
    return True


@_constant
def _triton_available() -> bool:
    global _triton_found
    if _triton_found is None:
        _triton_found = _loads(_start_triton)
    return _triton_found


# Tracing must not follow the search for a compiler.
@_constant
def _cpu_by_name() -> bool:
    _build.load()
    return True


@_constant
def _cpu_available() -> bool:
    global _cpu_found
    if _cpu_found is None:
        _cpu_found = _loads(_build.load)
    return _cpu_found


def products() -> str:
    """What float32 matrices are multiplied as on the CPU: `float32`, or `bfloat16 x 3` on a matrix unit."""
    return "bfloat16 x 3" if takes_cpu(torch.empty(0)) and uses_matrix_unit() else "float32"


@_constant
def uses_matrix_unit() -> bool:
    """Whether the compiled kernels, which there are, multiply on the processor's matrix unit."""
    return _build.matrix_unit()
