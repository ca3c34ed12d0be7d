import platform
import resource

import pytest
import torch

from dmnplus.training.device import keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_of_freed_tensors_is_used_again():
    keep_freed_memory()
    torch.ones(32 * 2**20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(32 * 2**20)
    # Given back and taken anew they are 128 MiB of pages, 32,768 of 4 KiB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 1000
