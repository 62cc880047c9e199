"""How often equal methods come out as clearly different, and how often an interval holds its RMSE.

    python asv_bench/evaluation_intervals.py [DRAWS]

Errors are normal, of variance 1, under Gaussians of several widths, or noise of single pixels with
a part of that; two methods share half of their variance. 5 % should differ clearly, and 95 % of the
intervals should hold 1. A table is printed, a row a kind of field, for the blocks that
`xstf.evaluate` takes and for others.
"""

import sys

import numpy as np
from scipy.ndimage import gaussian_filter

from xstf.evaluate import blocks

# The correlation that a length goes down to, and the lengths that a block is wide.
SETTINGS = ((0.1, 2.7), (float(np.exp(-1)), 4.0), (0.1, 1.0))
# Pixels a side, width, share of the variance that is not noise of single pixels.
CASES = [
    *((size, width, 1.0) for width in (2, 5, 8) for size in (100, 200)),
    *((size, size // 25, 0.3) for size in (100, 200)),
]  # fmt: skip


def draw(rng, size, width, share):
    """Return the errors of two methods."""
    fields = gaussian_filter(rng.standard_normal((3, size, size)), (0, width, width), mode="wrap")
    fields *= np.sqrt(4 * np.pi * share) * width
    fields += np.sqrt(1 - share) * rng.standard_normal(fields.shape)
    return (fields[0] + fields[1:]) / np.sqrt(2)


def judge(errors, seed):
    """Return whether two methods differ clearly, and whether the first one's interval holds 1."""
    size = errors.shape[-1]
    cells = blocks.cells_of(size, size)
    place = blocks.cell_of_pixels(size, size, cells).ravel()
    squares = np.stack([np.bincount(place, (e**2).ravel(), cells.number) for e in errors])
    pixels = np.bincount(place, minlength=cells.number).astype(float)
    found = blocks.blocks_of(blocks.correlation_of(errors), cells)
    squares, pixels = (blocks.joined(v, cells, found) for v in (squares, pixels))
    draws = blocks.drawn(pixels.size, seed).T
    scores = np.sqrt(squares @ draws / (pixels @ draws))
    value = np.sqrt(squares.sum(axis=1) / pixels.sum())
    wide = float(blocks.widening(np.array(pixels.size)))
    clear = abs(value[1] - value[0]) > wide * (scores[1] - scores[0]).std(ddof=1)
    return clear, abs(value[0] - 1) < wide * scores[0].std(ddof=1)


def main(count):
    """Print the table."""
    head = [f"{apart:g} lengths down to {fallen:.2f}" for fallen, apart in SETTINGS]
    print("| pixels a side | width | share |", " | ".join(f"{h}: differ | hold" for h in head), "|")
    print("| --- " * (3 + 2 * len(head)) + "|")
    for case in CASES:
        rng = np.random.default_rng(case[:2])
        totals = np.zeros((len(SETTINGS), 2))
        for seed in range(count):
            errors = draw(rng, *case)
            for i, (blocks.FALLEN, blocks.APART) in enumerate(SETTINGS):
                totals[i] += judge(errors, seed)
        shares = " | ".join(f"{a:.2f} | {b:.2f}" for a, b in totals / count)
        print(f"| {case[0]} | {case[1]} | {case[2]:g} | {shares} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
