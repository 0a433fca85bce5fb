"""Keeping large buffers: a fresh process stops paging them in anew."""

from __future__ import annotations

import platform
import subprocess
import sys

PROGRAM = """
import ctypes, resource, sys
from envgen_exp.learners.ppo.allocator import keep_large_buffers

took_effect = keep_large_buffers() if sys.argv[1] == "keep" else False
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def use():
    size = 48 * 2**20
    buffer = libc.malloc(size)
    ctypes.memset(buffer, 1, size)
    libc.free(buffer)

use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    use()
print(int(took_effect), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> tuple[bool, int]:
    """Whether it took effect, and page faults of five uses of a buffer of 48 MiB."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True, timeout=120
    )
    took_effect, number = done.stdout.split()
    return took_effect == "1", int(number)


def test_large_buffers_are_kept_where_the_c_library_is_glibc() -> None:
    is_glibc = platform.libc_ver()[0] == "glibc"
    took_effect, kept = faults("keep")
    _, plain = faults("plain")
    assert took_effect == is_glibc
    if is_glibc:
        assert kept < 50
        assert plain > 5 * kept + 50
