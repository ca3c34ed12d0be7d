import platform
import resource

import pytest
import torch

from dmnplus.training.device import keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_of_freed_tensors_is_used_again():
    keep_freed_memory()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(16 * 2**20)
    # Given back and taken anew they are 20 times 64 MiB, 16,384 pages. Some are new as long as others lie between.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 10 * 16_384
