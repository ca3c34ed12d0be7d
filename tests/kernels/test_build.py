"""Building and keeping the library: stale, broken, missing, at the same time, after a fork."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import textwrap

import pytest
import torch

from dmnplus import kernels
from dmnplus.kernels import _build
from tests.kernels import cases


@pytest.fixture
def cache(monkeypatch, tmp_path, request):
    """A cache folder of its own that holds the built library; the process forgets the one it has loaded."""
    request.getfixturevalue("_compiled")
    folder = tmp_path / "cache"
    folder.mkdir()
    # Not all of it: unpacked data sets lie there as well, thousands of files.
    for path in _build.cache_folder().glob("kernels-*"):
        shutil.copy2(path, folder)
    monkeypatch.setenv("DMNPLUS_CACHE", str(folder))
    monkeypatch.setattr(_build, "_library", None)
    return folder


@pytest.fixture
def quick_compiler(monkeypatch, tmp_path, cache):
    """A compiler that notes that it linked and hands out the library built before, and an empty cache."""
    (built,) = cache.glob(f"kernels-{_build._sources_digest()}-*.so")
    shutil.move(built, tmp_path / "built.so")
    log = tmp_path / "compiled"
    compiler = tmp_path / "quick-c++"
    compiler.write_text(
        textwrap.dedent(f"""\
        #!/bin/sh
        [ "$1" = --version ] && echo "${{QUICK_VERSION:-1}}" && exit
        case " $* " in *" -c "*) exit 0 ;; esac
        echo run >> {log}
        sleep "${{QUICK_SLEEP:-0}}"
        while [ "$1" != -o ]; do shift; done
        cp {tmp_path}/built.so "$2"
        """)
    )
    compiler.chmod(compiler.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CXX", str(compiler))
    return lambda: len(log.read_text().splitlines()) if log.exists() else 0


def reload(monkeypatch):
    monkeypatch.setattr(_build, "_library", None)
    return _build.load()


def test_built_once_and_found_again(quick_compiler, cache, monkeypatch, caplog):
    with caplog.at_level("INFO", "dmnplus.kernels"):
        reload(monkeypatch)
        reload(monkeypatch)
    assert quick_compiler() == 1
    assert [record.message.split(" with")[0] for record in caplog.records] == ["building the CPU kernels"]
    # Nothing half built may stay beside the kernels.
    assert {path.suffix for path in cache.iterdir()} <= {".so", ".lock"}


def test_what_killed_builders_left_goes(quick_compiler, cache, monkeypatch):
    old, new = cache / "kernels-abc-1234", cache / "kernels-abc-5678"
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    reload(monkeypatch)
    assert (old.exists(), new.exists()) == (False, True)


def test_another_compiler_or_source_or_processor_builds_anew(quick_compiler, monkeypatch):
    reload(monkeypatch)
    monkeypatch.setenv("QUICK_VERSION", "2")
    reload(monkeypatch)
    assert quick_compiler() == 2
    monkeypatch.setattr(_build, "_processor", lambda: "another")
    reload(monkeypatch)
    assert quick_compiler() == 3
    monkeypatch.setattr(_build, "_COMMON", (*_build._COMMON, "-DANOTHER"))
    reload(monkeypatch)
    assert quick_compiler() == 4


@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_broken_library_is_built_again(quick_compiler, cache, monkeypatch, damage):
    reload(monkeypatch)
    (path,) = cache.glob(f"kernels-{_build._sources_digest()}-*.so")
    content = path.read_bytes()
    # A new file, since the old one is mapped into this process.
    path.unlink()
    path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"not a library"}[damage])
    reload(monkeypatch)
    assert quick_compiler() == 2
    assert path.read_bytes() == content


def test_library_without_the_functions_is_not_taken(cache, tmp_path):
    other = tmp_path / "other.so"
    other.write_bytes(b"not a library")
    path = other.rename(tmp_path / f"kernels-{_build._bytes_digest(other)}.so")
    assert _build._try_load(path) is None


def test_without_a_compiler(monkeypatch, tmp_path, cache):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    # The library that is in the cache still serves.
    reload(monkeypatch)
    monkeypatch.setenv("DMNPLUS_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(_build, "_library", None)
    with pytest.raises(kernels.KernelUnavailableError, match="apt install g"):
        _build.load()


@pytest.mark.usefixtures("_compiled")
def test_compiler_that_fails(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "false")
    monkeypatch.setenv("DMNPLUS_CACHE", str(tmp_path))
    with pytest.raises(kernels.KernelUnavailableError, match="could not build"):
        reload(monkeypatch)


def test_cache_that_cannot_be_written(quick_compiler, monkeypatch, caplog):
    # A folder below a file can be made by no one, root included.
    monkeypatch.setenv("DMNPLUS_CACHE", f"{__file__}/cache")
    reload(monkeypatch)
    assert "cannot keep the CPU kernels" in caplog.text
    assert quick_compiler() == 1


def test_no_folder_to_build_in_is_no_crash(quick_compiler, monkeypatch):
    """The reference runs then, as it does without a compiler."""

    def refuse(**_: str) -> None:
        raise FileNotFoundError("no usable temporary directory found")

    monkeypatch.setenv("DMNPLUS_CACHE", f"{__file__}/cache")
    monkeypatch.setattr(_build.tempfile, "TemporaryDirectory", refuse)
    with pytest.raises(kernels.KernelUnavailableError, match=r"nowhere \(no usable temporary directory.*DMNPLUS_CACHE"):
        reload(monkeypatch)
    assert quick_compiler() == 0


def run_python(code: str, **environment: str) -> subprocess.Popen[str]:
    # The folder is named by hand: this tests the kernels, not the installation.
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


# Only the module that builds: PyTorch takes seconds to import.
BUILD = """
import importlib.util
spec = importlib.util.spec_from_file_location("build", {path!r})
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)
build.load()
print("ok")
"""


def test_many_processes_build_once(quick_compiler, cache):
    code = BUILD.format(path=_build.__file__)
    processes = [run_python(code, QUICK_SLEEP="1") for _ in range(6)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [output for output, _ in outputs] == ["ok\n"] * 6, outputs
    assert quick_compiler() == 1


def test_killed_build_leaves_nothing_that_counts(quick_compiler, cache):
    code = BUILD.format(path=_build.__file__)
    process = run_python(code, QUICK_SLEEP="30")
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=1)
    process.kill()
    process.communicate()
    process = run_python(code)
    assert process.communicate(timeout=60)[0] == "ok\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_fork(cpu):
    # Large enough for several threads, which the parent has used before it forks.
    x, weight, mask, reverse = cases.gru_inputs(2, 64, 20, 40)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = kernels.gru(x, weight, mask, reverse)
        child = os.fork()
        if child == 0:
            # Whatever happens, the child must not go on with pytest.
            code = 1
            try:
                states = kernels.gru(x, weight, mask, reverse)
                # PyTorch's own operations would hang on the threads that the child does not have.
                code = 0 if (states.numpy() == expected.numpy()).all() else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert torch.equal(kernels.gru(x, weight, mask, reverse), expected)
    finally:
        torch.set_num_threads(threads)
