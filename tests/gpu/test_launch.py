"""How kernels are launched: the arithmetic, what is refused, and the stand-in for a GPU itself."""

from __future__ import annotations

import cuda_in_cpp
import numpy as np
import pytest

from xstf.numerics.cuda import launch as _launch
from xstf.numerics.cuda.launch import PROCESSORS, Source, grid, occupancy, resident

TWICE = Source(
    "twice",
    r"""
extern "C" __global__ void twice(const float* values, int size, float by, float* out)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < size) out[i] = by * values[i] * FACTOR;
}
""",
    sizes={"FACTOR": 1},
)
TURNED = Source(
    "turned",
    r"""
extern "C" __global__ void turned(const float* values, float* out)
{
    __shared__ float room[64];
    int n = blockDim.x, here = blockIdx.x * n;
    room[threadIdx.x] = values[here + threadIdx.x];
    __syncthreads();
    float other = room[n - 1 - threadIdx.x];
    __syncthreads();
    room[threadIdx.x] = 2.0f * other;
    __syncthreads();
    out[here + threadIdx.x] = room[threadIdx.x];
}

extern "C" __global__ void stuck(const float* values, float* out)
{
    if (threadIdx.x > 3) return;
    __syncthreads();
    out[threadIdx.x] = values[threadIdx.x];
}
""",
)


@pytest.mark.parametrize("size", [(1, 1, 1), (32, 8, 1), (33, 9, 5), (1000, 7, 12)])
def test_blocks_cover_all_threads_and_no_block_is_idle(size):
    block = (32, 8, 1)
    blocks = grid(size, block)
    for n, b, count in zip(size, block, blocks, strict=True):
        assert count * b >= n > (count - 1) * b


@pytest.mark.parametrize(
    ("size", "block", "words"),
    [
        ((0, 1, 1), (32, 8, 1), "no launch"),
        ((1, 1, 1), (64, 32, 1), "1 to 1024"),
        ((1, 65536, 1), (32, 1, 1), "smaller tiles"),
        ((1, 1, 65536), (32, 1, 1), "smaller tiles"),
    ],
)
def test_a_launch_that_no_gpu_takes(size, block, words):
    with pytest.raises(ValueError, match=words):
        grid(size, block)


def test_blocks_that_are_resident():
    """By hand: what runs out first, of what NVIDIA's tables say a multiprocessor has."""
    a100, h100 = PROCESSORS[80], PROCESSORS[90]
    # 8 warps a block: 64 warps hold 8 of them, with 32 registers a thread all at once.
    assert resident((32, 8, 1), registers=32, processor=h100) == 8
    # 255 registers are 8192 a warp, so 8 warps, one block.
    assert resident((32, 8, 1), registers=255, processor=h100) == 1
    # 100 KiB and the system's one: one block of 164, two of 228.
    assert resident((32, 8, 1), registers=32, shared=100 * 1024, processor=a100) == 1
    assert resident((32, 8, 1), registers=32, shared=100 * 1024, processor=h100) == 2
    # Blocks of one warp: 32 of them, half of the warps.
    assert occupancy((32, 1, 1), registers=32, processor=h100) == 0.5
    assert resident((32, 8, 1), registers=32, shared=300 * 1024, processor=h100) == 0


@pytest.mark.cuda
def test_a_kernel_runs_with_its_sizes():
    values = _launch.on_device(np.arange(300.0))
    out = _launch.empty((300,))
    TWICE.launch("twice", (300, 1, 1), values, 300, 2.5, out, block=(128, 1, 1), FACTOR=3)
    np.testing.assert_array_equal(out.get(), np.arange(300) * 7.5)


@pytest.mark.cuda
def test_what_a_launch_refuses():
    values, out = _launch.on_device(np.ones((4, 6))), _launch.empty((4, 6))
    with pytest.raises(ValueError, match="needs the sizes"):
        TWICE.launch("twice", (24, 1, 1), values, 24, 1.0, out)
    with pytest.raises(ValueError, match="C order"):
        TWICE.launch("twice", (12, 1, 1), values[:, ::2], 12, 1.0, out, FACTOR=1)


@pytest.mark.cuda
def test_threads_meet_at_barriers():
    values, out = np.arange(128, dtype=np.float32), _launch.empty((128,))
    TURNED.launch("turned", (128, 1, 1), _launch.on_device(values), out, block=(64, 1, 1))
    np.testing.assert_array_equal(out.get(), 2 * values.reshape(2, 64)[:, ::-1].ravel())


def test_a_barrier_that_some_threads_never_reach_is_found():
    """On a GPU it hangs, or does not: the stand-in says so."""
    library = cuda_in_cpp.library(TURNED.text, ())
    with pytest.raises(AssertionError, match="wait at a barrier"):
        cuda_in_cpp.run(
            library, "stuck", (1, 1, 1), (32, 1, 1), [np.ones(32, np.float32)] * 2
        )  # fmt: skip
