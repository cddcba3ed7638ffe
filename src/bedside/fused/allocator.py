"""Memory that stays when nobody needs it: a heap of freed blocks, compiled products, a file of weights."""

import ctypes
import os

from torch import nn

M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8
"""Of `mallopt` (glibc, malloc.h)."""
LIMIT_BYTES = 2**23
PRODUCT_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
PRODUCTS = 64
"""Of a core: a layer of the fused step makes some forty products for each number of tokens."""


def return_freed_memory() -> None:
    """Makes glibc give blocks of 8 MiB and more back to the system as soon as they are freed; nothing elsewhere.

    It otherwise raises that limit by itself, up to 32 MiB, and keeps smaller blocks in a heap which layers that are
    computed again leave full of holes: four of Llama-8B's peaked at 4.6 GiB, and at 4.2 with this
    (benchmarks/big_model.py --layers 4). The system clears each such block anew: with a limit of 1 MiB, attention's
    blocks among them, the embedded model trained 1.6 times as long, to save a twelfth of its memory.
    """
    _glibc("mallopt", M_MMAP_THRESHOLD, LIMIT_BYTES)


def share_one_heap() -> None:
    """Makes glibc serve all threads from one heap, before they start; nothing elsewhere.

    With one for each thread, a training in two lanes peaked at 4.1 GiB, and at 3.0 with this, no slower
    (benchmarks/train.py --length 528).
    """
    _glibc("mallopt", M_ARENA_MAX, 1)


def keep_few_products(cores: int) -> None:
    """Bounds what oneDNN and torch's wrapper of it keep, before the first product; what the user has set is left alone.

    In bf16 on a CPU they compile each product for each new number of tokens and keep the last 1024 in either cache:
    a training grew by 0.1 GiB a step, from 1.6 to 2.7 GiB, and stays at 1.8 with this (benchmarks/train.py).
    """
    for cache in PRODUCT_CACHES:
        os.environ.setdefault(cache, str(PRODUCTS * cores))


def let_go_of_file(model: nn.Module) -> None:
    """Copies the weights that lie in a mapped file on the CPU: as a whole it stays in memory while one of them is used.

    A base in NF4 uses its embedding alone: 2.1 GiB at the peak of a training of the embedded model, and 1.6 with this.
    """
    for parameter in model.parameters():
        if parameter.is_cpu and parameter.is_floating_point():
            parameter.data = parameter.data.clone()


def trim_heap() -> None:
    """Gives the pages of freed blocks back to the system, wherever in the heap they lie; nothing elsewhere.

    Of 60 steps of `bedside train` on rows of many lengths the peak was 2.02 GiB, and 1.88 with this every ten: reading
    the data had left 0.2 GiB of freed blocks.
    """
    _glibc("malloc_trim", 0)


def _glibc(name: str, *values: int) -> None:
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):  # another C library; Windows has no handle of the whole process
        return
    function(*values)
