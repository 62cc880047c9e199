"""What every fusion method promises, run over every record and engine.

A record that does not obey a law says so in `exempt`; then the law must fail, or the exemption is
stale.
"""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from records import classical, each, each_engine

import xstf
from xstf import evaluate
from xstf._method import Method
from xstf.tiles import engines as _engines

RECORDS = [
    *classical("fuse"),
    *evaluate.BASELINES,
]  # networks have laws of their own: test_net_laws.py
METHOD = each(RECORDS)
ENGINE = each_engine(RECORDS)


@dataclasses.dataclass(frozen=True)
class Case:
    """Kernel inputs with the state of the whole image."""

    fine: np.ndarray
    coarse: np.ndarray
    ratio: int

    def run(self, record: Method, engine: str = "", **params: Any) -> np.ndarray:
        """Return the estimate of the whole image."""
        return self.run_both(record, engine, False, **params)[0]

    def run_both(self, record: Method, engine: str, std: bool, **params: Any) -> tuple[Any, Any]:
        """Return the estimate and its std."""
        options = small_params(record, **params)
        state = state_of(record, self, options)
        return run_kernel(record, engine, self.fine, self.coarse, self.ratio, options, state, std)


def small_params(record: Method, **params: Any) -> Any:
    """Return parameters with windows small enough for small images."""
    has = {f.name for f in dataclasses.fields(record.params)}
    return record.params(**({"window": 9} if "window" in has else {}) | params)


def run_kernel(
    record: Method, engine: str, fine: np.ndarray, coarse: np.ndarray, ratio: int, options: Any,
    state: Any, std: bool,
) -> tuple[Any, Any]:  # fmt: skip
    """Return the estimate of one date, the last coarse one, and its std."""
    runner = _engines.make_runner(record, engine or next(iter(record.kernels)), None)
    inner = tuple(slice(0, n) for n in fine.shape[2:])
    call = {"ratio": ratio, "params": options, "state": state, "inner": inner, "std": std}
    if not record.series:
        return runner(fine, coarse, **call)
    days, order = days_of(coarse), np.argsort(days_of(coarse))
    found = runner(
        fine, coarse[order], times=days[:-1], coarse_times=days[order], targets=days[-1:],
        reach=1.0, **call,
    )  # fmt: skip
    return tuple(None if layer is None else layer[0] for layer in found)


def days_of(coarse: np.ndarray) -> np.ndarray:
    """Return when the pairs and the target are: the target lies after the first pair."""
    return np.array([*range(0, 16 * len(coarse) - 16, 16), 8.0])


def state_of(record: Method, case: Case, options: Any) -> Any:
    if record.prepare is None or record.settle is None:
        return None
    call = {"ratio": case.ratio, "params": options}
    if not record.series:
        return record.settle(record.prepare(case.fine, case.coarse, **call), **call)
    days = days_of(case.coarse)
    order = np.argsort(days)
    samples = record.prepare(case.fine, case.coarse[order], **call)
    return record.settle(
        samples, times=days[:-1], coarse_times=days[order], reach=1.0, **call
    )  # fmt: skip


# Of a method that takes any number of pairs.
MOST_PAIRS = 3


def make_case(
    *, seed: int = 0, ratio: int = 4, cells: tuple[int, int] = (9, 8), bands: int = 2,
    pairs: int = 1, missing: bool = False,
) -> Case:  # fmt: skip
    """Return fields of a few classes with texture; the coarse images are noisy block means."""
    rng = np.random.default_rng(seed)
    parcels = rng.integers(0, 4, (cells[0] + 1, cells[1] + 1))
    y, x = (np.arange(n * ratio) + ratio // 2 for n in cells)
    classes = parcels[(y // ratio)[:, None], (x // ratio)[None, :]]
    levels = rng.uniform(0.05, 0.5, (pairs + 1, bands, 4))
    images = levels[:, :, classes] + 0.01 * rng.standard_normal((pairs + 1, bands, *classes.shape))
    blocks = images.reshape(pairs + 1, bands, cells[0], ratio, cells[1], ratio).mean(axis=(3, 5))
    blocks = blocks + 0.002 * rng.standard_normal(blocks.shape)
    fine = images[:pairs].astype(np.float32)
    coarse = np.concatenate([blocks[:pairs], blocks[-1:]]).astype(np.float32)
    if missing:
        fine[rng.random(fine.shape) < 0.05] = np.nan
        fine[:, :, : 2 * ratio, : ratio + 1] = np.nan
        coarse[rng.random(coarse.shape) < 0.03] = np.nan
    return Case(fine, coarse, ratio)


def pair_counts(record: Method) -> range:
    return range(record.pairs[0], most_pairs(record) + 1)


def most_pairs(record: Method) -> int:
    return min(record.pairs[1], MOST_PAIRS)


def check(record: Method, law: str, holds: Callable[[], None]) -> None:
    """Assert a law, or that the record's exemption from it is needed."""
    if law in record.exempt:
        assert record.exempt[law], "an exemption needs its reason"
        with pytest.raises(AssertionError):
            holds()
    else:
        holds()


@METHOD
def test_record_is_complete(record):
    assert record.reference
    assert record.summary.endswith(".")
    assert record.halo(record.params(), 16) >= 0
    assert set(record.exempt) <= {
        "tiles", "engines", "halo", "no_change", "offset", "scale", "symmetry", "missing",
        "consistency", "purity",
    }  # fmt: skip


@ENGINE
@pytest.mark.parametrize("missing", [False, True])
def test_engines_agree_with_the_definition(record, engine, missing):
    for pairs in pair_counts(record):
        case = make_case(pairs=pairs, missing=missing, seed=pairs)
        want = case.run_both(record, "numpy", record.std)
        have = case.run_both(record, engine, record.std)
        for w, h in zip(want, have, strict=True):
            assert (w is None) == (h is None)
            if w is not None:
                np.testing.assert_allclose(h, w, rtol=1e-4, atol=1e-6)
        assert have[0].dtype == np.float32
        assert have[0].shape == case.fine.shape[1:]


@METHOD
def test_std_changes_no_estimate(record):
    """A kernel of a fusion may leave the standard deviation to the tiles."""
    case = make_case(pairs=most_pairs(record), missing=True)
    plain, none = case.run_both(record, "", False)
    estimate, std = case.run_both(record, "", True)
    assert none is None
    np.testing.assert_allclose(estimate, plain, rtol=1e-5, atol=1e-6)
    if std is not None:
        assert record.std
        assert np.array_equal(np.isnan(std), np.isnan(estimate))
        assert (std[~np.isnan(std)] >= 0).all()


@each(classical("fuse"))
def test_every_estimate_has_a_standard_deviation(record):
    """Whatever the tiles; it is 0 where a pixel was observed, and asking changes no estimate."""
    if not record.std:
        with pytest.raises(ValueError, match="gives no standard deviation"):
            xstf.fuse(*labelled(make_case(), [0] * 4), method=record, return_quality=True)
        return
    for pairs in pair_counts(record):
        case = make_case(seed=12, pairs=pairs, missing=True)
        fine, coarse = labelled(case, [1, 0, 2, 3])
        options = dataclasses.asdict(small_params(record))
        call = {"method": record, **options}
        plain = xstf.fuse(fine, coarse, **call)
        std = deviation(fine, coarse, **call)
        both = xstf.fuse(fine, coarse, return_quality=True, **call)
        np.testing.assert_array_equal(both["reflectance"], plain)
        assert np.array_equal(np.isnan(std), np.isnan(plain))
        assert (std.values[~np.isnan(std)] > 0).all()
        xstf.testing.assert_tiles_agree(
            lambda f, c, call=call: deviation(f, c, **call), fine, coarse,
            chunks=({"y": 11, "x": 9}, {"y": 4, "x": 3}), rtol=1e-4, atol=2e-6,
        )  # fmt: skip
        if pairs > record.pairs[0]:
            seen = deviation(fine, coarse, time=fine.time[:1], **call).values[0]
            assert (seen[~np.isnan(fine.values[0])] == 0).all()


def deviation(fine: xr.DataArray, coarse: xr.DataArray, **call: Any) -> xr.DataArray:
    return xstf.fuse(fine, coarse, return_quality=True, **call)["reflectance_std"]


@METHOD
@given(data=st.data())
def test_tiles_give_what_the_whole_gives(record, data):
    """Random sizes, ratios, chunks, windows and masks, through the verb."""
    ratio = data.draw(st.integers(2, 7))
    cells = data.draw(st.tuples(st.integers(3, 7), st.integers(3, 7)))
    pairs = data.draw(st.integers(record.pairs[0], most_pairs(record)))
    window = data.draw(st.sampled_from([3, 5, 9, 15]))
    case = make_case(
        seed=data.draw(st.integers(0, 99)), ratio=ratio, cells=cells, pairs=pairs,
        missing=data.draw(st.booleans()),
    )  # fmt: skip
    crop = [data.draw(st.integers(0, ratio)) for _ in range(4)]
    fine, coarse = labelled(case, crop)
    chunks = {d: data.draw(st.integers(1, fine.sizes[d])) for d in ("y", "x")}
    coarse_chunks = {d: data.draw(st.integers(1, coarse.sizes[d])) for d in ("y", "x")}
    has = {f.name for f in dataclasses.fields(record.params)}
    options = {"window": window} if "window" in has else {}
    xstf.testing.assert_tiles_agree(
        lambda f, c: xstf.fuse(f, c, method=record, **options), fine, coarse,
        chunks=(chunks, coarse_chunks), rtol=1e-5, atol=2e-6,
    )  # fmt: skip


def labelled(case: Case, crop: list[int]) -> tuple[xr.DataArray, xr.DataArray]:
    """Return a case as cubes; the fine one cropped, so that corners do not coincide."""
    pairs, bands = case.fine.shape[:2]
    times = np.datetime64("2020-01-01", "ns") + days_of(case.coarse) * np.timedelta64(1, "D")
    y, x = (np.arange(n) + 0.5 for n in case.fine.shape[2:])
    coarse = xr.DataArray(
        case.coarse, dims=("time", "band", "y", "x"), name="reflectance",
        coords={
            "time": times,
            "band": list(range(bands)),
            "y": -(np.arange(case.coarse.shape[2]) + 0.5) * case.ratio,
            "x": (np.arange(case.coarse.shape[3]) + 0.5) * case.ratio,
        },
    )  # fmt: skip
    fine = xr.DataArray(
        case.fine, dims=("time", "band", "y", "x"), name="reflectance",
        coords={"time": times[:pairs], "band": list(range(bands)), "y": -y, "x": x},
    )  # fmt: skip
    top, bottom, left, right = crop
    return fine[:, :, top : len(y) - bottom, left : len(x) - right], coarse


@METHOD
def test_halo_is_honest(record):
    """Poke one input pixel: nothing changes further away than the halo, with the state held."""
    for pairs in pair_counts(record):
        case = make_case(pairs=pairs, cells=(12, 11), ratio=3, seed=3)
        options = small_params(record, **({"window": 5} if "window" in fields(record) else {}))
        state = state_of(record, case, options)
        call = (3, options, state, False)
        before = run_kernel(record, "", case.fine, case.coarse, *call)[0]
        halo = record.halo(options, 3)
        for target, at in (("fine", (18, 16)), ("coarse", (6, 5))):
            fine, coarse = case.fine.copy(), case.coarse.copy()
            poked = fine if target == "fine" else coarse
            # Each date by another value: what looks at changes alone must see one.
            poked[..., at[0], at[1]] += 0.05 * np.arange(1, len(poked) + 1)[:, None]
            size = 1 if target == "fine" else 3
            after = run_kernel(record, "", fine, coarse, *call)[0]
            changed = np.argwhere((before != after) & ~(np.isnan(before) & np.isnan(after)))[:, 1:]
            start = np.array(at) * size
            near = (changed >= start - halo).all(1) & (changed < start + size + halo).all(1)
            assert near.all()


def fields(record: Method) -> set[str]:
    return {f.name for f in dataclasses.fields(record.params)}


@ENGINE
def test_no_change_returns_fine(record, engine):
    def holds() -> None:
        for pairs in pair_counts(record):
            case = make_case(pairs=pairs, seed=5, missing=True)
            fine = np.repeat(case.fine[:1], pairs, axis=0)
            coarse = np.repeat(case.coarse[:1], pairs + 1, axis=0)
            same = Case(fine, coarse, case.ratio).run(record, engine)
            seen = ~np.isnan(same)
            assert seen.mean() > 0.5
            np.testing.assert_allclose(same[seen], fine[0][seen], rtol=1e-5, atol=1e-5)

    check(record, "no_change", holds)


@METHOD
def test_a_constant_added_to_the_coarse_image_is_added_to_the_result(record):
    def holds() -> None:
        for pairs in pair_counts(record):
            case = make_case(pairs=pairs, seed=6)
            before = case.run(record)
            case.coarse[-1] += 0.1
            np.testing.assert_allclose(case.run(record), before + 0.1, rtol=1e-4, atol=2e-5)

    check(record, "offset", holds)


@METHOD
def test_units_do_not_matter(record):
    def holds() -> None:
        for pairs in pair_counts(record):
            case = make_case(pairs=pairs, seed=7, missing=True)
            scaled = Case(case.fine * 10000, case.coarse * 10000, case.ratio)
            np.testing.assert_allclose(
                scaled.run(record) / 10000, case.run(record), rtol=1e-3, atol=1e-5
            )

    check(record, "scale", holds)


@METHOD
@pytest.mark.parametrize("how", ["flip_y", "flip_x", "transpose"])
def test_mirrored_in_gives_mirrored_out(record, how):
    turn = {
        "flip_y": lambda a: a[..., ::-1, :],
        "flip_x": lambda a: a[..., ::-1],
        "transpose": lambda a: a.swapaxes(-1, -2),
    }[how]

    def holds() -> None:
        for pairs in pair_counts(record):
            case = make_case(pairs=pairs, seed=8, missing=True)
            turned = Case(*(np.ascontiguousarray(turn(a)) for a in (case.fine, case.coarse)), 4)
            np.testing.assert_allclose(
                turned.run(record), turn(case.run(record)), rtol=1e-4, atol=1e-5
            )

    check(record, "symmetry", holds)


@ENGINE
def test_nothing_in_gives_nothing_out(record, engine):
    for pairs in pair_counts(record):
        case = make_case(pairs=pairs)
        blank = Case(np.full_like(case.fine, np.nan), case.coarse, case.ratio)
        assert np.isnan(blank.run(record, engine)).all()
        if "offset" not in record.exempt:
            blind = Case(case.fine, np.full_like(case.coarse, np.nan), case.ratio)
            assert np.isnan(blind.run(record, engine)).all()


@METHOD
def test_nothing_is_invented(record):
    """Missing base pixels and missing coarse pixels stay missing; the rest is found."""
    for pairs in pair_counts(record):
        case = make_case(pairs=pairs, seed=9)
        case.fine[:, :, 3:7, 5:9] = np.nan
        case.coarse[-1, :, 5, 2] = np.nan
        out = case.run(record)
        assert np.isnan(out[:, 3:7, 5:9]).all()
        if "offset" not in record.exempt:
            holes = np.zeros(out.shape[1:], bool)
            holes[3:7, 5:9] = holes[20:24, 8:12] = True
            # A series bridges the gap between the coarse images of other dates.
            if record.series and pairs > 1:
                holes[20:24, 8:12] = False
            assert np.isnan(out[:, holes]).all()
            assert not np.isnan(out[:, ~holes]).any()


@METHOD
def test_result_degraded_is_near_the_coarse_image(record):
    """To half of what the unchanged fine image is off by; noise-free inputs."""

    def holds() -> None:
        for pairs in pair_counts(record):
            case = make_case(pairs=pairs, seed=10, ratio=5)
            out = case.run(record)
            bands, height, width = out.shape
            blocks = out.reshape(bands, height // 5, 5, width // 5, 5).mean(axis=(2, 4))
            off = np.abs(blocks - case.coarse[-1]).mean()
            assert off < 0.5 * np.abs(case.coarse[0] - case.coarse[-1]).mean()

    if record.name != "unchanged":
        check(record, "consistency", holds)


@ENGINE
def test_a_kernel_writes_to_nothing_that_it_is_given(record, engine):
    case = make_case(pairs=most_pairs(record), missing=True)
    fine, coarse = case.fine.copy(), case.coarse.copy()
    case.run(record, engine)
    np.testing.assert_array_equal(case.fine, fine)
    np.testing.assert_array_equal(case.coarse, coarse)


@METHOD
def test_a_state_travels(record):
    """What is settled goes to other processes, and has a name of its own in a graph."""
    tokenize = pytest.importorskip("dask.base", reason="dask is not installed").tokenize
    state = state_of(record, make_case(pairs=most_pairs(record)), small_params(record))
    again = pickle.loads(pickle.dumps(state))
    assert type(again) is type(state)
    assert tokenize(again, ensure_deterministic=True) == tokenize(state, ensure_deterministic=True)


@METHOD
def test_inputs_are_left_alone_and_labels_kept(record, scene):
    fine, coarse = scene
    copies = fine.copy(deep=True), coarse.copy(deep=True)
    fused = xstf.fuse(fine, coarse, method=record)
    xr.testing.assert_identical(fine, copies[0])
    xr.testing.assert_identical(coarse, copies[1])
    assert fused.dims == fine.dims
    assert fused.name == fine.name
    assert fused.dtype == np.float32
    assert fused.attrs["units"] == fine.attrs["units"]
    assert record.name in fused.attrs["stf_method"]
    for name in ("band", "y", "x"):
        xr.testing.assert_identical(fused[name], fine[name])
