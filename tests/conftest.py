"""Shared by all tests: fixed seeds, and the real data where it is at hand."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Figures of tests are those of float32, on every machine; what the matrix unit gives is tested by itself.
os.environ["DMNPLUS_MATRIX_UNIT"] = "0"


# Begun first, so that no process is left alone with one of them at the end.
LONGEST = ("test_own_data_guide.py", "cli/test_reproduce.py", "training/test_run.py", "test_readme.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.path.as_posix().endswith(LONGEST))


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    random.seed(0)
    # Only where the test's own imports brought them in: importing torch here would slow every small test run.
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture
def matrix_unit() -> Iterator[None]:
    """Products on the matrix unit, in this process; skips the test where the processor has none."""
    from dmnplus import kernels

    try:
        found = kernels.use_matrix_unit(True)
    except kernels.KernelUnavailableError as error:
        pytest.skip(f"no compiled kernels: {error}")
    if not found:
        pytest.skip("this processor has no matrix unit")
    yield
    kernels.use_matrix_unit(False)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data sets: DMNPLUS_DATA, else ../shared/data beside the project."""
    project = Path(__file__).resolve().parents[1]
    return Path(os.environ.get("DMNPLUS_DATA") or project.parent / "shared" / "data")


@pytest.fixture(scope="session")
def babi_archive(data_root: Path) -> Path:
    archive = data_root / "tasks_1-20_v1-2.tar.gz"
    if not archive.is_file():
        pytest.skip(f"the bAbI archive is not in {data_root}; set DMNPLUS_DATA to its folder")
    return archive
