from __future__ import annotations

import pytest
import torch

from dmnplus import kernels
from dmnplus.kernels import _build


@pytest.fixture(autouse=True)
def one_thread():
    """The cases are small: on a busy machine threads that wait for each other would cost more than they do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def _compiled():
    try:
        _build.load()
    except kernels.KernelUnavailableError as error:
        pytest.skip(f"no compiled kernels: {error}")


@pytest.fixture
def cpu(_compiled):
    """Runs the test on the compiled kernels; skips it where there is no compiler."""
    with kernels.backend("cpu"):
        yield
