"""Compiles the CPU kernels on first use and keeps the library in the user's cache folder.

The name of the library holds a digest of all that went into it (sources, flags, processor, compiler) and one of its own
bytes, so that a changed source, another machine or a half-written file are never loaded. Nothing is built at import.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

_LOGGER = logging.getLogger("dmnplus.kernels")
_FOLDER = Path(__file__).parent
_UNITS = (
    "gru/cpu.cpp",
    "attention_gru/cpu.cpp",
    "attention_gate/cpu.cpp",
    "episodes/cpu.cpp",
    "linear/cpu.cpp",
    "cpu/matrix_unit.cpp",
)
_FUNCTIONS = (
    "dmnplus_gru_forward",
    "dmnplus_gru_backward",
    "dmnplus_attention_gru_forward",
    "dmnplus_attention_gru_backward",
    "dmnplus_attention_gate_forward",
    "dmnplus_attention_gate_backward",
    "dmnplus_attention_gate_half_forward",
    "dmnplus_attention_gate_half_backward",
    "dmnplus_episodes",
    "dmnplus_linear_forward",
    "dmnplus_linear_backward",
    "dmnplus_matrix_unit",
)
# Products and sums are fused where the source says so and nowhere else: else a row's result would depend on the height
# of the tile that it is computed in.
_COMMON = ("-std=c++17", "-O3", "-fno-math-errno", "-ffp-contract=off", "-fPIC")
# Tried in order: a compiler may come without OpenMP, or may not know the processor.
_VARIANTS = (("-march=native", "-fopenmp"), ("-march=native", "-pthread"), ("-pthread",))

_HOUR = 3600

_lock = threading.Lock()
_library: ctypes.CDLL | None = None
_matrix_unit = False


class KernelUnavailableError(RuntimeError):
    """The compiled kernels cannot be had on this machine; the message says why and what to install."""


def load() -> ctypes.CDLL:
    """The library of CPU kernels, built if need be.

    Raises `KernelUnavailableError` without a C++ compiler or where the compiler fails.
    """
    global _library, _matrix_unit
    if _library is not None:
        return _library
    with _lock:
        if _library is None:
            library = _load()
            _matrix_unit = _choose(library, wants_matrix_unit())
            _library = library
    return _library


def matrix_unit() -> bool:
    """Whether the library's products go to the processor's matrix unit."""
    load()
    return _matrix_unit


def use_matrix_unit(wanted: bool) -> bool:
    """Choose whether they do, where there is one; returns whether they do now.

    Not between a forward pass and its backward pass: what the one keeps for the other lies in another order.
    """
    global _matrix_unit
    _matrix_unit = _choose(load(), wanted)
    return _matrix_unit


def wants_matrix_unit() -> bool:
    """What DMNPLUS_MATRIX_UNIT says, without it no; raises `ValueError` where that is neither 0 nor 1."""
    chosen = os.environ.get("DMNPLUS_MATRIX_UNIT", "0")
    if chosen not in ("0", "1"):
        raise ValueError(f"DMNPLUS_MATRIX_UNIT is {chosen!r}, but must be 0 or 1")
    return chosen == "1"


def _choose(library: ctypes.CDLL, wanted: bool) -> bool:
    return bool(library.dmnplus_matrix_unit(b"1" if wanted else b"0", None))


def cache_folder() -> Path:
    """Where built libraries lie: DMNPLUS_CACHE, else `dmnplus` in XDG_CACHE_HOME or ~/.cache."""
    if chosen := os.environ.get("DMNPLUS_CACHE"):
        return Path(chosen).expanduser()
    chosen = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    try:
        return chosen.expanduser() / "dmnplus"
    except RuntimeError:
        # Nobody's home: what cannot be written there is built for the process.
        return chosen / "dmnplus"


def _load() -> ctypes.CDLL:
    compiler = _find_compiler()
    sources = _sources_digest()
    # Without a compiler, a library that any compiler made from these sources for this processor is as good.
    stem = f"kernels-{sources}" + (f"-{_compiler_digest(compiler)}" if compiler else "")
    for path in sorted(cache_folder().glob(f"{stem}-*.so")):
        if (library := _try_load(path)) is not None:
            return library
    if compiler is None:
        raise KernelUnavailableError(
            "the CPU kernels need a C++17 compiler and none was found: install one (Debian and Ubuntu: apt install "
            "g++; Fedora: dnf install gcc-c++; macOS: xcode-select --install) or name it in CXX"
        )
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        with _one_builder(folder / f"{stem}.lock"):
            # Another process may have built it while this one waited.
            for path in sorted(folder.glob(f"{stem}-*.so")):
                if (library := _try_load(path)) is not None:
                    return library
                path.unlink(missing_ok=True)
            # What builders that were killed have left; where there are no locks another may be at work.
            for left in folder.glob("kernels-*/"):
                if time.time() - left.stat().st_mtime > _HOUR:
                    shutil.rmtree(left, ignore_errors=True)
            return _open(_build(compiler, folder, stem))
    except OSError as error:
        _LOGGER.warning("cannot keep the CPU kernels in %s (%s); building them for this process", cache_folder(), error)
        try:
            with tempfile.TemporaryDirectory(prefix="dmnplus-") as folder:
                return _open(_build(compiler, Path(folder), stem))
        except OSError as error:
            raise KernelUnavailableError(
                f"the CPU kernels can be built or loaded nowhere ({error}); name a folder for them in DMNPLUS_CACHE, "
                "on a disk that programs may run from"
            ) from error


def _find_compiler() -> list[str] | None:
    chosen = shlex.split(os.environ.get("CXX", ""))
    for command in [chosen] if chosen else [["c++"], ["g++"], ["clang++"]]:
        if path := shutil.which(command[0]):
            return [path, *command[1:]]
    return None


def _sources_digest() -> str:
    digest = hashlib.sha256(repr((_COMMON, _VARIANTS, _UNITS)).encode())
    for path in sorted([*_FOLDER.glob("*/*.cpp"), *_FOLDER.glob("*/*.hpp")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    digest.update(_processor().encode())
    return digest.hexdigest()[:20]


def _processor() -> str:
    name = f"{sys.platform} {platform.machine()}"
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return f"{name} {platform.processor()}"
    wanted = ("model", "model name", "cpu family", "flags", "Features", "CPU part")
    return "\n".join([name, *(line for line in lines if line.split(":")[0].strip() in wanted)])


def _compiler_digest(compiler: list[str]) -> str:
    run = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=False)
    return hashlib.sha256(repr((compiler, run.stdout)).encode()).hexdigest()[:12]


def _bytes_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:20]


def _try_load(path: Path) -> ctypes.CDLL | None:
    try:
        # Loading a truncated library can kill the process, so its bytes are checked first.
        if path.stem.rsplit("-", 1)[1] != _bytes_digest(path):
            return None
        return _open(path)
    except (OSError, AttributeError):
        return None


def _open(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    for name in _FUNCTIONS:
        function = getattr(library, name)
        function.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
        function.restype = ctypes.c_int
    return library


def _build(compiler: list[str], folder: Path, stem: str) -> Path:
    # The first answer waits for it.
    _LOGGER.warning("building the CPU kernels with %s, once, into %s; this takes half a minute", compiler[0], folder)
    with tempfile.TemporaryDirectory(prefix=f"{stem}-", dir=folder) as temporary:
        errors = ""
        for variant in _VARIANTS:
            command = [*compiler, *_COMMON, *variant, f"-I{_FOLDER / 'cpu'}"]
            parts = {str(_FOLDER / unit): str(Path(temporary) / f"{i}.o") for i, unit in enumerate(_UNITS)}
            built = Path(temporary) / "kernels.so"
            # Side by side, since they take tens of seconds one after the other.
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                runs = list(pool.map(_compile, [[*command, "-c", unit, "-o", part] for unit, part in parts.items()]))
            if all(run.returncode == 0 for run in runs):
                runs = [_compile([*command, "-shared", *parts.values(), "-o", str(built)])]
            # Warnings of the others would hide it.
            errors = "".join(run.stderr for run in runs if run.returncode != 0)
            if all(run.returncode == 0 for run in runs):
                path = folder / f"{stem}-{_bytes_digest(built)}.so"
                built.replace(path)
                return path
    raise KernelUnavailableError(f"{compiler[0]} could not build the CPU kernels:\n{errors[-2000:]}")


def _compile(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


@contextmanager
def _one_builder(path: Path) -> Iterator[None]:
    """Lets one process build while others wait; the lock falls with its process, however that ends."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            # Some network file systems have no locks: then several may build, and the last one's library stays.
            _LOGGER.debug("no lock on %s: %s", path, error)
        yield
