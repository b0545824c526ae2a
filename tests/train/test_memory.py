import platform
import subprocess
import sys

import pytest

from workbook import ROOT

IN_A_FRESH_PROCESS = """
import psutil, torch
from workbook.train.memory import memory_kept

size, resident = 300_000_000, lambda: psutil.Process().memory_info().rss
with memory_kept():
    before = resident()
    with memory_kept():
        pass
    torch.zeros(size // 4).add_(1)
    assert resident() - before > 0.8 * size
assert resident() - before < 0.5 * size
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has other rules")
def test_memory_is_kept_inside_the_block_and_given_back_after_it():
    subprocess.run([sys.executable, "-c", IN_A_FRESH_PROCESS], check=True, cwd=ROOT)
