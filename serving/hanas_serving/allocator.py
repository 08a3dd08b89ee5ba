"""The allocator of the C library: memory that was freed goes back to the system."""

import contextlib
import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE_BYTES = 128 << 10


def give_back_large_blocks() -> None:
    """Have each block of more than 128 KiB mapped for itself, so that freeing it gives it back to the system at once.

    That is glibc's own beginning; but it raises the limit up to 32 MiB as such blocks are freed, and then keeps them
    between smaller ones. Without effect on another C library.
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _LARGE_BYTES)
