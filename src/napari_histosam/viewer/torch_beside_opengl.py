"""Import torch in a process whose window already draws.

Mesa's OpenGL drivers (llvmpipe, radeonsi) bring an LLVM, and so does triton, which a CUDA build of
torch imports. Loaded second, triton binds to the first one's symbols and the process dies with a
segmentation fault. Bound to its own symbols first (RTLD_DEEPBIND) it works beside either.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def import_torch() -> None:
    """Import torch and, before it, where there is one, triton; later imports find both."""
    if "torch" not in sys.modules and hasattr(os, "RTLD_DEEPBIND"):
        flags = sys.getdlopenflags()
        sys.setdlopenflags(flags | os.RTLD_DEEPBIND)
        try:
            with suppress(ImportError):
                import triton  # noqa: F401
        finally:
            sys.setdlopenflags(flags)
    import torch  # noqa: F401
