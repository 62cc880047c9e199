"""The one place where CUDA source is compiled and launched, and the arithmetic of that.

A kernel gets one thread for each position of ``(x, y, layer)``, neighbours in x in one warp, so
that a warp reads whole lines of memory. Arrays are passed in C order: kernels know no strides.

Windows are not copied to shared memory. On every GPU since Volta shared memory and the first cache
are the same memory with the same bandwidth (CUDA C++ Programming Guide, "Shared memory"), so a copy
saves nothing for a window that fits into either. What helps is to load less: a thread makes several
pixels of one column, and loads each candidate once for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from cupy import ndarray as DeviceArray

Three = tuple[int, int, int]

WARP = 32
BLOCK: Three = (32, 8, 1)
# Most blocks along x, y and z, most threads in a block: CUDA C++ Programming Guide, "Compute
# capabilities", the same for 8.0 to 10.0.
MOST_BLOCKS: Three = (2**31 - 1, 65535, 65535)
MOST_THREADS = 1024
# Dynamic shared memory that a kernel gets without asking for more.
USUAL_SHARED = 48 * 1024


class Processor(NamedTuple):
    """What a multiprocessor has: CUDA C++ Programming Guide, "Compute capabilities".

    Parameters
    ----------
    warps, blocks
        Most that are resident at once.
    registers
        32-bit registers.
    shared
        Bytes of shared memory.
    """

    warps: int
    blocks: int
    registers: int
    shared: int


PROCESSORS: dict[int, Processor] = {
    80: Processor(64, 32, 65536, 164 * 1024),
    90: Processor(64, 32, 65536, 228 * 1024),
    100: Processor(64, 32, 65536, 228 * 1024),
}
# Registers are given to warps in units of so many, shared memory to blocks in bytes; each block
# takes some shared memory for the system.
REGISTER_UNIT, SHARED_UNIT, SYSTEM_SHARED = 256, 128, 1024


def grid(size: Three, block: Three = BLOCK) -> Three:
    """Return how many blocks along x, y and z cover so many threads; raise if they are too many.

    Parameters
    ----------
    size : (int, int, int)
        Threads wanted along x, y and z, at least one.
    block : (int, int, int)
        Threads in a block.

    Examples
    --------
    >>> grid((33, 8, 3))
    (2, 1, 3)
    """
    threads = block[0] * block[1] * block[2]
    if min(size) < 1 or min(block) < 1 or threads > MOST_THREADS:
        raise ValueError(f"no launch of {size} threads in blocks of {block}: 1 to {MOST_THREADS}")
    x, y, z = (-(-n // b) for n, b in zip(size, block, strict=True))
    if any(n > most for n, most in zip((x, y, z), MOST_BLOCKS, strict=True)):
        raise ValueError(f"{(x, y, z)} blocks are more than {MOST_BLOCKS}; use smaller tiles")
    return x, y, z


def resident(block: Three, *, registers: int, shared: int = 0, processor: Processor) -> int:
    """Return how many blocks a multiprocessor holds at once, 0 if not even one fits.

    Parameters
    ----------
    block : (int, int, int)
        Threads in a block.
    registers : int
        Of a thread.
    shared : int
        Bytes of shared memory of a block.
    processor : Processor

    Examples
    --------
    >>> resident((32, 8, 1), registers=64, processor=PROCESSORS[90])
    4
    """
    warps = -(-block[0] * block[1] * block[2] // WARP)
    of_warp = -(-registers * WARP // REGISTER_UNIT) * REGISTER_UNIT
    of_block = -(-(shared + SYSTEM_SHARED) // SHARED_UNIT) * SHARED_UNIT
    return min(
        processor.blocks,
        processor.warps // warps,
        processor.registers // (of_warp * warps),
        processor.shared // of_block,
    )


def occupancy(block: Three, *, registers: int, shared: int = 0, processor: Processor) -> float:
    """Return the share of a multiprocessor's warps that are resident, 0 to 1.

    Parameters are those of `resident`.

    Examples
    --------
    >>> occupancy((32, 8, 1), registers=64, processor=PROCESSORS[90])
    0.5
    """
    warps = -(-block[0] * block[1] * block[2] // WARP)
    blocks = resident(block, registers=registers, shared=shared, processor=processor)
    return blocks * warps / processor.warps


@dataclass(frozen=True)
class Source:
    """CUDA source with one or more kernels, compiled when first launched.

    Parameters
    ----------
    name
        What errors call it.
    text
        The source; its kernels are ``extern "C"``. NVRTC compiles it, which knows no headers.
    sizes
        Names that are numbers to the compiler (how many bands there are, say), each with a value
        for which tests compile it. `launch` must be given all of them.
    """

    name: str
    text: str
    sizes: Mapping[str, int] = field(default_factory=dict, hash=False)

    def launch(
        self,
        kernel: str,
        size: Three,
        *arguments: Any,
        block: Three = BLOCK,
        shared: int = 0,
        **sizes: int,
    ) -> None:
        """Run a kernel, one thread for each position.

        Parameters
        ----------
        kernel : str
            Its name in the source.
        size : (int, int, int)
            Threads along x, y and z; the kernel itself lets go those beyond.
        *arguments
            Arrays of the device in C order; whole numbers, which become 32-bit ones; others, which
            become float32.
        block : (int, int, int)
            Threads in a block.
        shared : int
            Bytes of dynamic shared memory of a block.
        **sizes
            Values of the names in `sizes`.

        Raises
        ------
        ValueError
            An array is not in C order, or sizes are missing or unknown.
        """
        if set(sizes) != set(self.sizes):
            raise ValueError(f"{self.name} needs the sizes {sorted(self.sizes)}: {sorted(sizes)}")
        function = _function(self, kernel, tuple(sorted(sizes.items())), _device())
        if shared > USUAL_SHARED:
            function.max_dynamic_shared_size_bytes = shared
        given = tuple(_argument(a, f"{self.name}.{kernel}") for a in arguments)
        function(grid(size, block), block, given, shared_mem=shared)


def options(sizes: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    """Return what the compiler is told: the language, and the sizes by name."""
    return ("--std=c++14", *(f"-D{name}={value}" for name, value in sizes))


@cache
def _function(
    source: Source, kernel: str, sizes: tuple[tuple[str, int], ...], device: int
) -> Any:  # a kernel of one device, since modules are loaded on the current one
    import cupy

    return cupy.RawModule(code=source.text, options=options(sizes)).get_function(kernel)


def _device() -> int:
    import cupy

    return int(cupy.cuda.Device().id)


def _argument(value: Any, kernel: str) -> Any:
    """Return a value as kernels take it."""
    if hasattr(value, "shape") and value.shape != ():
        if not value.flags.c_contiguous:
            raise ValueError(f"{kernel} takes arrays in C order")
        return value
    if isinstance(value, bool | int | np.integer | np.bool_):
        return np.int32(value)
    return np.float32(value)


def on_device(values: np.ndarray | DeviceArray, kind: type[np.generic] = np.float32) -> Any:
    """Return values as an array of the current device, in C order.

    Parameters
    ----------
    values
        Of either side.
    kind
        The type that they get, float32 or another one.
    """
    import cupy

    return cupy.ascontiguousarray(cupy.asarray(values, dtype=kind))


def empty(shape: tuple[int, ...], kind: type[np.generic] = np.float32) -> Any:
    """Return an array of the current device that is to be written."""
    import cupy

    return cupy.empty(shape, kind)
