"""Lets the C library's allocator keep freed buffers, so that large tensors are not paged in anew each time."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_large_buffers() -> bool:
    """Let glibc's malloc serve large buffers from its heap and never give the heap back; True where that took effect.

    Without it every large tensor is mapped and unmapped by the kernel, which fills it with zeros page by page. Call it
    at the start of a process, before the first tensor. Where the C library is another one, nothing happens. The price:
    the process keeps its largest footprint.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL("libc.so.6")
        return bool(libc.mallopt(_M_MMAP_MAX, 0)) and bool(libc.mallopt(_M_TRIM_THRESHOLD, -1))
    except (OSError, AttributeError):
        return False
