import platform
from pathlib import Path

import pytest
import torch

from workbook.train.memory import memory_kept


def resident():
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has other rules")
def test_memory_is_kept_inside_the_block_and_given_back_after_it():
    size = 300_000_000
    with memory_kept():
        before = resident()
        with memory_kept():
            pass
        torch.zeros(size // 4).add_(1)
        assert resident() - before > 0.8 * size
    assert resident() - before < 0.5 * size
