"""CUDA source run on the processor: compiled as C++, block by block, thread by thread.

Threads of a block run one after the other. Where the source has barriers each is a fibre of its
own, and the fibres take turns at ``__syncthreads()``.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np

SHIM = r"""
#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <ucontext.h>
#include <vector>
using std::isnan; using std::isfinite; using std::min; using std::max;
#define __global__
#define __device__ static inline
#define __forceinline__
#define __launch_bounds__(...)
#define __shared__ static thread_local
struct Three { unsigned x, y, z; };
static thread_local Three blockIdx, threadIdx, blockDim, gridDim;
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __ldg(const float* p) { return *p; }

struct Fibre { ucontext_t begin; jmp_buf at; bool begun, done; };
static thread_local std::vector<Fibre>* fibres;
static thread_local jmp_buf turn;
static thread_local int now;
static thread_local void (*body)(void**);
static thread_local void** given;
static void enter() { body(given); (*fibres)[now].done = true; _longjmp(turn, 1); }
static inline void __syncthreads() { if (!_setjmp((*fibres)[now].at)) _longjmp(turn, 1); }
"""

LOOP = r"""
static Three place(int n) {
    return {n % blockDim.x, n / blockDim.x % blockDim.y, n / (blockDim.x * blockDim.y)};
}

// With barriers: each thread goes on until it waits or ends. False if some wait for ever.
static bool one_block(std::vector<std::vector<char>>& stacks) {
    std::vector<Fibre> all(stacks.size());
    fibres = &all;
    for (size_t n = 0; n < all.size(); ++n) {
        getcontext(&all[n].begin);
        all[n].begin.uc_stack.ss_sp = stacks[n].data();
        all[n].begin.uc_stack.ss_size = stacks[n].size();
        all[n].begin.uc_link = nullptr;
        makecontext(&all[n].begin, enter, 0);
    }
    for (;;) {
        size_t ended = 0;
        for (size_t n = 0; n < all.size(); ++n) {
            now = n;
            threadIdx = place(n);
            if (!_setjmp(turn)) {
                if (all[n].begun) _longjmp(all[n].at, 1);
                all[n].begun = true;
                setcontext(&all[n].begin);
            }
            ended += all[now].done;
        }
        if (ended == all.size()) return true;
        if (ended) return false;
    }
}

extern "C" int each_thread(
    const unsigned* sizes, int barriers, void (*kernel)(void**), void** arguments) {
    gridDim = {sizes[0], sizes[1], sizes[2]};
    blockDim = {sizes[3], sizes[4], sizes[5]};
    body = kernel;
    given = arguments;
    unsigned threads = blockDim.x * blockDim.y * blockDim.z;
    std::vector<std::vector<char>> stacks(barriers ? threads : 0, std::vector<char>(1 << 16));
    for (blockIdx.z = 0; blockIdx.z < gridDim.z; ++blockIdx.z)
    for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)
    for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) {
        if (barriers) {
            if (!one_block(stacks)) return 1;
            continue;
        }
        for (unsigned n = 0; n < threads; ++n) {
            threadIdx = place(n);
            kernel(arguments);
        }
    }
    return 0;
}
"""

KERNEL = re.compile(r'extern "C" __global__ void (\w+)\(([^)]*)\)')


def kernels(code):
    """Return the kernels of a source: the types of their arguments by name."""
    return {
        name: [" ".join(a.replace("__restrict__", "").split()[:-1]) for a in given.split(",")]
        for name, given in KERNEL.findall(code)
    }


def translated(code):
    """Return C++: the source, and for each kernel what calls it with pointers to its arguments."""
    calls = ""
    for name, kinds in kernels(code).items():
        cast = ", ".join(
            f"({kind})a[{i}]" if kind.endswith("*") else f"*({kind}*)a[{i}]"
            for i, kind in enumerate(kinds)
        )
        calls += f'extern "C" void run_{name}(void** a) {{ {name}({cast}); }}\n'
    return SHIM + code + LOOP + calls


class Library:
    def __init__(self, path, code):
        self.functions = ctypes.CDLL(str(path))
        self.kinds = kernels(code)
        self.barriers = "__syncthreads" in code


@functools.cache
def library(code, options):
    """Return the compiled source; compiled once for all processes of a machine."""
    text = translated(code)
    defines = [o for o in options if o.startswith("-D")]
    key = hashlib.sha1(repr((text, defines)).encode()).hexdigest()
    folder = Path(tempfile.gettempdir()) / f"cuda-in-cpp-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{key}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder) as made:
            (Path(made) / "a.cpp").write_text(text)
            # As CUDA does, the compiler may contract products and sums; it may not reorder.
            command = ["g++", "-O1", "-std=c++17", "-shared", "-fPIC", "-w", "-U_FORTIFY_SOURCE",
                       *defines, "-o", "a.so", "a.cpp"]  # fmt: skip
            done = subprocess.run(command, cwd=made, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            (Path(made) / "a.so").replace(path)
    return Library(path, code)


TYPES = {"int": np.int32, "float": np.float32, "double": np.float64, "long long": np.int64,
         "unsigned char": np.uint8, "unsigned short": np.uint16}  # fmt: skip


def run(found, name, blocks, block, arguments):
    """Run a kernel over all its blocks; check what it is given."""
    kinds = found.kinds[name]
    assert len(arguments) == len(kinds), f"{name} takes {len(kinds)} arguments: {kinds}"
    for value, kind in zip(arguments, kinds, strict=True):
        wanted = TYPES[kind.replace("const ", "").rstrip("*").strip()]
        assert value.dtype == wanted, f"{name}: {value.dtype} for {kind}"
        assert value.flags.c_contiguous, f"{name}: an array that is not in C order"
    pointers = (ctypes.c_void_p * len(arguments))(*(a.ctypes.data for a in arguments))
    sizes = (ctypes.c_uint * 6)(*blocks, *block)
    function = getattr(found.functions, f"run_{name}")
    stuck = found.functions.each_thread(sizes, int(found.barriers), function, pointers)
    assert stuck == 0, f"{name}: some threads of a block wait at a barrier, others have ended"
