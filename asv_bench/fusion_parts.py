"""What each part of the default is worth: its error without it, as a Markdown table.

``XSTF_TEST_DATA=… python asv_bench/fusion_parts.py``: RMSE over that of the full ``auto`` less 1,
in per cent, geometric mean over cases; + is worse without the part. *Real*: the boreal forest and
the irrigated fields, dates in turn, also with block means as coarse images, and NDVI. *Simulated*:
`fusion_cases` without haze. Without XSTF_TEST_DATA it prints the simulated ones alone. Each case is
settled once, and its parts are run once: what differs is how they are put together.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path

import fusion_cases as simulated
import numpy as np

import xstf
from xstf.methods.fuse import auto
from xstf.tiles import run as _tiles

RATIOS, SEEDS = (3, 8, 16), (1, 2)
GROUPS = {
    "sim.": ("phenology", "flood", "harvest"),
    "useless": ("useless coarse",),
    "target's own gain or offset": ("gain of the target", "offset of the target"),
}
# Real cases: dates known > date wanted, as positions in the files.
REAL = ("0>1", "2>1", "1>0", "1>2", "0>2", "2>0", "02>1")
NDVI = ("3>5", "36>5", "57>6", "03>1")


def without(name):
    """Return what takes a part's weight from a state."""

    def change(state):
        if name not in state.names:
            return state
        weights = state.weights.copy()
        weights[state.names.index(name)] = 0
        whole = weights.sum(axis=0)
        if not (whole > 0).all():
            return state
        return state._replace(weights=weights / whole)

    return change


def only(name):
    """Return what gives a part all weight, and all trust."""

    def change(state):
        weights = np.zeros_like(state.weights)
        weights[state.names.index(name)] = 1
        return state._replace(weights=weights, trust=np.ones_like(state.trust))

    return change


def even(state):
    """Return a state whose parts have equal weights, as far as they have any."""
    some = (state.weights > 0).astype(float)
    return state._replace(weights=some / some.sum(axis=0))


def trusted(state):
    """Return a state that trusts the blend wholly."""
    return state._replace(trust=np.ones_like(state.trust))


PARTS = ("regression_unmixing", "fastvsdf", "starfm", "estarfm", "fitfc", "delta")
ROWS = {
    **{f"without `{p}`": without(p) for p in PARTS},
    "equal weights": even,
    "trust always 1": trusted,
    "only `regression_unmixing`": only("regression_unmixing"),
    "only `fastvsdf`": only("fastvsdf"),
}
OPTIONS = {"not moved": {"register": False}, "change as it is": {"change": "raw"}}


class Cached:
    """The default with its pieces kept between runs on the same images."""

    def __init__(self):
        """Keep nothing yet."""
        self.settled, self.made = {}, {}
        self.change = lambda state: state
        record = auto.METHOD
        kernel = record.kernels["numba"]

        def settle(samples, **options):
            key = str(sorted((n, hash(v.tobytes())) for n, v in samples.items()))
            if key not in self.settled:
                self.settled[key] = record.settle(samples, **options)
            return self.settled[key]

        def run(fine, coarse, *, state, **options):
            return kernel(fine, coarse, state=self.change(state), **options)

        own = auto._run_part

        def part(fine, coarse, name, k, state, inner, std=False, **options):
            key = (name, str(inner), std, hash(fine.tobytes()), hash(coarse.tobytes()))
            if key not in self.made:
                self.made[key] = own(fine, coarse, name, k, state, inner, std, **options)
            return self.made[key]

        auto._run_part = part
        self.record = replace(
            record, settle=settle, kernels={**record.kernels, "numba": run}, whole=None
        )

    def errors(self, fine, coarse, truth, **options):
        """Return the error of the default, of each row, and of each option."""
        self.settled, self.made = {}, {}
        call = {"method": self.record, "time": truth.time.values, **options}
        found = {}
        for name, change in {"full": lambda state: state, **ROWS}.items():
            self.change = change
            if name.startswith("only"):
                self.change = lambda state, change=change, name=name: (
                    change(state) if name[6:-1] in state.names else state
                )
            found[name] = simulated.rmse(xstf.fuse(fine, coarse, **call).isel(time=0), truth)
        self.change = lambda state: state
        for name, more in OPTIONS.items():
            made = xstf.fuse(fine, coarse, **call, **more).isel(time=0)
            found[name] = simulated.rmse(made, truth)
        return found


def real_cases(folder):
    """Yield the group, the images known, the coarse ones, the truth and options of real cases."""
    for name in ("boreas", "cia50m"):
        fine, coarse = (xstf.files.open_cube(folder / f"{name}_{s}.nc") for s in ("fine", "coarse"))
        ratio = round(coarse.attrs["native_coarse_resolution"] / float(abs(fine.x[1] - fine.x[0])))
        whole = fine.isel({d: slice(fine.sizes[d] // ratio * ratio) for d in "yx"})
        means = whole.coarsen(y=ratio, x=ratio).mean()
        for sharp, blurred in ((fine, coarse), (whole, means)):
            for which in REAL:
                known, target = which.split(">")
                yield sharp[[int(k) for k in known]], blurred, sharp[int(target)], {}
    fine, coarse, quality = (
        xstf.files.open_cube(folder / f"ndvi_hubei_{s}.nc") for s in ("fine", "coarse", "cfmask")
    )
    fine = fine.where((quality == 0) | (quality == 1) & (quality.time.dt.dayofyear == 287))
    for which in NDVI:
        known, target = which.split(">")
        yield fine[[int(k) for k in known]], coarse, fine[int(target)], {"pair_tolerance": "16D"}


def simulated_cases(kinds, ratios, seeds):
    """Yield the same of simulated cases."""
    for ratio in ratios:
        for seed in seeds:
            for kind in kinds:
                fine, coarse, truth = simulated.case(kind, ratio, seed)
                yield fine[:1], coarse, truth, {}
                yield fine, coarse, truth, {}


def main(argv=None):
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--ratios", type=int, nargs="+", default=list(RATIOS))
    parser.add_argument("--simulated", action="store_true", help="no real cases")
    given = parser.parse_args(argv)
    _tiles.cores = lambda: 1
    start = time.process_time()
    groups = {}
    if "XSTF_TEST_DATA" in os.environ and not given.simulated:
        groups["real"] = real_cases(Path(os.environ["XSTF_TEST_DATA"]) / "fusion")
    for name, kinds in GROUPS.items():
        groups[name] = simulated_cases(kinds, given.ratios, given.seeds)
    cached, columns = Cached(), {}
    for group, cases in groups.items():
        for fine, coarse, truth, options in cases:
            errors = cached.errors(fine, coarse, truth, **options)
            columns.setdefault((group, fine.sizes["time"]), []).append(errors)
    order = sorted(columns, key=lambda key: key[1])
    heads = [f"{g}, {n} pair{'s' * (n > 1)}" for g, n in order]
    print("| | " + " | ".join(heads) + " |")
    print("| --- |" + " --- |" * len(heads))
    print("| cases | " + " | ".join(str(len(columns[key])) for key in order) + " |")
    for row in (*ROWS, *OPTIONS):
        cells = []
        for key in order:
            logs = [np.log(errors[row] / errors["full"]) for errors in columns[key]]
            same = not np.any(logs)
            cells.append("" if same else f"{100 * np.expm1(np.mean(logs)):+.1f}")
        print(f"| {row} | " + " | ".join(cells) + " |")
    print(f"\n{time.process_time() - start:.0f} CPU s")


if __name__ == "__main__":
    main()
