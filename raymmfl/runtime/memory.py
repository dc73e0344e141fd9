"""Memory that a training process has freed stays with it instead of going back to the system.

Each batch frees and takes again the same activations and gradients. By default the C library
returns large pieces to the system, which hands them out again page by page, zeroed: some
thousand page faults per client. Peak memory stays the same.
"""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of the GNU C library
_KEPT = 1 << 30
_LARGEST = 1 << 28


def keep_freed_memory() -> bool:
    """Let this process reuse up to 1 GiB of what it frees; False where malloc is another."""
    try:
        adjust = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(adjust(_M_TRIM_THRESHOLD, _KEPT) and adjust(_M_MMAP_THRESHOLD, _LARGEST))
