"""Pictures: they are drawn, of what was asked, and say what they show."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xstf

plt = pytest.importorskip("matplotlib.pyplot", reason="needs matplotlib")

SMALLEST = 10  # points on 6.4 inches: 8 pixels high where a page shows the picture 360 pixels wide


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def made():
    return xstf.scenes.landsat_modis(size=60)


@pytest.fixture(scope="module")
def cloudy():
    return xstf.scenes.sentinel_1_2(size=30)


@pytest.fixture(scope="module")
def filled(cloudy):
    return cloudy.truth + 0.01


def figure_of(axes):
    return np.asarray(axes, dtype=object).reshape(-1)[0].figure


def drawn(axes):
    """Draw; check that every letter is large enough and on the paper; return the pixels."""
    figure = figure_of(axes)
    figure.set_dpi(50)
    figure.canvas.draw()
    paper, renderer = figure.bbox, figure.canvas.get_renderer()
    words = [t for a in figure.axes for t in (a.title, a.xaxis.label, a.yaxis.label, *a.texts)]
    words += [t for a in figure.axes if a.get_legend() for t in a.get_legend().get_texts()]
    for text in words:
        if text.get_text().strip():
            assert text.get_fontsize() >= SMALLEST, text
            box = text.get_window_extent(renderer)
            across, along = (
                (box.x0 > -2, box.x1 < paper.x1 + 2),
                (box.y0 > -2, box.y1 < paper.y1 + 2),
            )
            assert all((*across, *along)), f"{text.get_text()!r} leaves the paper"
    return np.asarray(figure.canvas.buffer_rgba())


def titles(axes):
    return [axis.get_title() for axis in axes if axis.get_title()]


def captions(axes):
    found = [t for axis in axes for t in axis.texts if t.get_gid() == "caption"]
    return [text.get_text().replace("\n", " ") for text in found if text.get_text()]


def legend(axis):
    return [text.get_text() for text in axis.get_legend().get_texts()]


class TestQuicklook:
    """A picture a date."""

    def test_a_picture_a_date_says_its_bands_and_method(self, made):
        cube = made.fine.assign_attrs(stf_method="fsdaf(classes=4), xstf 0.1")
        axes = xstf.plot.quicklook(cube)
        assert drawn(axes).std() > 1
        assert titles(axes) == [str(t)[:10] for t in made.fine.time.values]
        assert captions(axes) == ["true colour (red, green, blue), by fsdaf"]
        assert legend(axes[2]) == ["missing"]

    def test_at_most_so_many_evenly_or_those_asked_for(self, made):
        shown = titles(xstf.plot.quicklook(made.coarse, most=3))
        days = [str(t)[:10] for t in made.coarse.time.values]
        assert (shown[0], shown[-1], len(shown)) == (days[0], days[-1], 3)
        assert titles(xstf.plot.quicklook(made.coarse, time=[days[2], days[5]])) == [
            days[2],
            days[5],
        ]
        assert titles(xstf.plot.quicklook(made.coarse, time=days[4])) == [days[4]]

    def test_missing_pixels_are_grey(self, made):
        cube = made.fine.isel(time=[0]).where(made.fine.x > made.fine.x[30])
        (axis,) = xstf.plot.quicklook(cube)
        picture = axis.images[0].get_array()
        assert (picture[:, 0] == 0.85).all()
        assert picture[:, 40:].std() > 0.01

    def test_true_colour_keeps_the_hue_and_others_are_stretched_apart(self, made):
        (axis,) = xstf.plot.quicklook(made.truth.isel(time=[5]))
        picture, true = axis.images[0].get_array(), made.truth.isel(time=5)
        seen = (picture > 0).all(axis=-1) & (picture < 1).all(axis=-1)
        shown = np.moveaxis(true.sel(band=["red", "green", "blue"]).values, 0, -1)[seen]
        slope, _ = np.polyfit(shown.ravel(), picture[seen].ravel(), 1)
        np.testing.assert_allclose(
            picture[seen], picture[seen][:1] + slope * (shown - shown[:1]), atol=2e-4
        )
        (axis,) = xstf.plot.quicklook(made.truth.isel(time=[5]), bands=["nir", "red", "green"])
        assert captions([axis]) == ["colour infrared (nir, red, green as red, green, blue)"]
        medians = np.median(np.asarray(axis.images[0].get_array()), axis=(0, 1))
        assert (abs(medians - 0.5) < 0.35).all()

    @pytest.mark.parametrize(
        ("bands", "words"),
        [
            (["nir", "red", "green"], "colour infrared (nir, red, green as red, green, blue)"),
            (["B02", "B03", "B04", "B08"], "true colour (B04, B03, B02)"),
            (["B2", "B3", "B4", "B8A"], "true colour (B4, B3, B2)"),
            (["B1", "B2", "B3", "B4"], "false colour (B4, B3, B2 as red, green, blue)"),
            (["SR_B1", "SR_B2", "SR_B3"], "false colour (SR_B3, SR_B2, SR_B1 as red, green, blue)"),
            (["SR_B2", "SR_B3", "SR_B4", "SR_B6"], "true colour (SR_B4, SR_B3, SR_B2)"),
            (
                ["green", "red", "nir", "swir"],
                "colour infrared (nir, red, green as red, green, blue)",
            ),
            (["VV", "VH", "HH", "HV"], "false colour (HV, HH, VH as red, green, blue)"),
        ],
    )
    def test_bands_by_their_names(self, made, bands, words):
        cube = made.fine.isel(band=slice(len(bands)), time=[0]).drop_vars("wavelength")
        assert captions(xstf.plot.quicklook(cube.assign_coords(band=bands))) == [words]

    def test_bands_by_their_wavelengths(self):
        scene = xstf.scenes.hyperspectral(size=48)
        (axis,) = xstf.plot.quicklook(scene.truth)
        words = captions([axis])[0].removeprefix("true colour (").removesuffix(")").split(", ")
        waves = scene.truth.wavelength.sel(
            band=[type(scene.truth.band.values[0].item())(w) for w in words]
        )
        np.testing.assert_allclose(waves, [665, 560, 490], atol=12)

    def test_one_band_has_a_colour_bar_with_its_unit(self, made):
        axes = xstf.plot.quicklook(made.fine, bands=["nir"], most=2)
        assert axes[0].images[0].get_array().ndim == 2
        assert captions(axes) == ["band nir"]
        assert figure_of(axes).axes[-1].get_xlabel() == "reflectance"
        height = made.fine.isel(band=0, drop=True).rename("height")
        height.attrs = {"units": "m"}
        assert figure_of(xstf.plot.quicklook(height)).axes[-1].get_xlabel() == "height (m)"
        assert drawn(axes).std() > 1

    def test_north_is_up_and_west_is_left(self, made):
        image = made.truth.isel(time=[0])
        want = xstf.plot.quicklook(image)[0].images[0].get_array()
        turned = image.isel(y=slice(None, None, -1), x=slice(None, None, -1))
        np.testing.assert_array_equal(xstf.plot.quicklook(turned)[0].images[0].get_array(), want)

    def test_bands_and_dates_that_are_not_there(self, made):
        with pytest.raises(ValueError, match=r"one or three of .*'red'"):
            xstf.plot.quicklook(made.fine, bands=["red", "purple", "blue"])
        with pytest.raises(ValueError, match="cube has no date on 2020-01-01"):
            xstf.plot.quicklook(made.fine, time="2020-01-01")

    def test_of_a_result_with_its_quality_the_estimate_is_drawn(self, made):
        flag = made.fine.isnull().astype("uint8")
        parts = {"r": made.fine, "r_std": 0 * made.fine, "r_flag": flag}
        a, b = (
            xstf.plot.quicklook(c)[0].images[0].get_array() for c in (made.fine, xr.Dataset(parts))
        )
        np.testing.assert_array_equal(a, b)


class TestReading:
    """Of a lazy cube only what is shown is read."""

    @staticmethod
    def counted(cube):
        """Return a dask cube with a chunk a date, and a list that grows by each chunk read."""
        read = []

        def look(block, block_info=None):
            read.append(block_info[0]["chunk-location"])
            return block

        lazy = cube.chunk({d: 1 if d == "time" else -1 for d in cube.dims})
        return lazy.copy(
            data=lazy.data.map_blocks(look, dtype=cube.dtype, meta=cube.data[:0])
        ), read

    def test_a_chunk_a_date_that_is_shown(self, cloudy, filled):
        cube, read = self.counted(cloudy.cube)
        assert read == []
        xstf.plot.quicklook(cube, most=3)
        assert len(read) == 3
        read.clear()
        day = str(cube.time.values[7])[:10]
        xstf.plot.before_after(cube, filled, time=day)
        assert {place[0] for place in read} == {7}

    def test_gaps_reads_it_for_the_bars_and_for_the_pictures(self, cloudy):
        with xstf.testing.raise_if_dask_computes(most=3):  # and the bands' wavelengths
            xstf.plot.gaps(cloudy.cube.chunk(y=15), most=2)

    def test_series_reads_the_chunk_of_its_pixel(self, cloudy, filled):
        cube, read = self.counted(cloudy.cube.isel(time=slice(6)))
        split = cube.chunk(y=10, x=10)
        xstf.plot.series(split, filled)
        assert len(read) == 6

    def test_large_images_are_thinned(self, made):
        wide = made.truth.isel(time=[0], band=slice(3)).isel(x=np.arange(1000) % 60)
        wide = wide.assign_coords(x=made.truth.x.values[0] + 30.0 * np.arange(1000))
        (axis,) = xstf.plot.quicklook(wide)
        assert axis.images[0].get_array().shape == (20, 334, 3)
        assert captions([axis])[0].endswith("; every 3rd pixel")
        assert "10 km" in [t.get_text() for t in axis.texts] or "5 km" in [
            t.get_text() for t in axis.texts
        ]

    def test_of_a_file_that_is_opened_the_dates_shown_are_read(self, cloudy, tmp_path):
        """One chunk of a file a date: others may be damaged without anyone noticing."""
        path = tmp_path / "cube.nc"
        cloudy.cube.rename("r").to_netcdf(path)
        with xr.open_dataset(path, decode_coords="all") as file:
            cube = file.r
            xstf.plot.quicklook(cube, most=2)
            assert not cube.variable._in_memory


class TestAxes:
    """Each picture takes axes, and returns those that it drew on."""

    def test_one_axes_is_divided(self, made):
        figure, (left, right) = plt.subplots(1, 2, layout="constrained")
        axes = xstf.plot.quicklook(made.fine, most=2, ax=right)
        assert axes.shape == (2,)
        assert all(axis.figure is figure for axis in axes)
        figure.canvas.draw()
        assert min(axis.get_position().x0 for axis in axes) >= left.get_position().x1

    def test_one_axes_anywhere_is_divided_within_its_place(self, made):
        figure = plt.figure()
        axes = xstf.plot.quicklook(made.fine, most=2, ax=figure.add_axes((0.5, 0.5, 0.4, 0.4)))
        assert all(axis.get_position().x0 >= 0.5 and axis.get_position().y0 >= 0.5 for axis in axes)

    def test_several_axes_are_used(self, made, cloudy, filled):
        _, given = plt.subplots(2, 2)
        axes = xstf.plot.quicklook(made.fine, ax=given)
        assert list(axes) == list(given.flat)
        _, given = plt.subplots(1, 4)
        assert list(xstf.plot.gaps(cloudy.cube, ax=given)) == list(given)
        truth = made.truth.isel(time=1)
        _, given = plt.subplots(1, 3)
        assert list(xstf.plot.compare(truth, {"a": truth}, ax=given)) == list(given)

    def test_too_few_axes(self, made):
        _, given = plt.subplots(1, 3)
        with pytest.raises(ValueError, match="there are 4 pictures to draw and 3 axes"):
            xstf.plot.quicklook(made.fine, ax=given)

    def test_a_picture_of_one_panel_is_drawn_on_the_axes_that_was_given(self):
        _, axis = plt.subplots()
        assert xstf.plot.rank(scores(), ax=axis) is axis
        assert xstf.plot.apa(scores(), ax=axis) is axis

    @pytest.mark.parametrize("width", [700, 360])
    def test_save_writes_so_many_pixels_and_closes(self, made, tmp_path, width):
        axes = xstf.plot.quicklook(made.fine, most=1)
        xstf.plot.save(axes, tmp_path / "look.png", width=width)
        image = plt.imread(tmp_path / "look.png")
        assert image.shape[1] == width
        assert plt.get_fignums() == []
        xstf.plot.save(xstf.plot.quicklook(made.fine, most=1), tmp_path / "few.png", colours=16)
        few = plt.imread(tmp_path / "few.png")
        assert len(np.unique(few.reshape(-1, few.shape[-1]), axis=0)) == 16
        assert few.shape[1] == 1400


class TestScale:
    """A length that is known, else pixels."""

    def bar(self, cube):
        axis = xstf.plot.quicklook(cube.isel(time=[0]))[0]
        (text,) = [t.get_text() for t in axis.texts if t.get_gid() != "caption"]
        return text, np.ptp(axis.lines[0].get_xdata())

    def test_metres(self, made):
        assert self.bar(made.fine) == ("500 m", pytest.approx(500 / 30))

    def test_pixels_without_a_crs(self, made):
        plain = made.fine.drop_vars("spatial_ref").drop_encoding()
        assert self.bar(plain) == ("10 pixels", pytest.approx(10))

    def test_degrees(self, made):
        plain = made.fine.drop_vars("spatial_ref").drop_encoding().rename(y="lat", x="lon")
        plain = plain.assign_coords(lat=60.0 - 0.001 * np.arange(60), lon=0.001 * np.arange(60.0))
        text, length = self.bar(plain)
        assert text == "1 km"
        assert length == pytest.approx(1000 / (111.32 * np.cos(np.deg2rad(59.97))), rel=1e-3)


class TestCompare:
    """Estimates beside the truth."""

    def test_it_prints_the_mean_errors_with_their_unit(self, made):
        truth = made.truth.isel(time=1)
        off = {
            "off by 0.01": truth + 0.01,
            "off by 0.02": (truth - 0.02).isel(band=slice(None, None, -1)),
        }
        axes = xstf.plot.compare(
            truth, off, before=made.fine.isel(time=0), coarse=made.coarse.isel(time=1)
        )
        assert drawn(axes).std() > 1
        days = [str(made.truth.time.values[n])[:10] for n in (1, 1, 1)]
        assert titles(axes) == [
            f"fine image\n{days[0]}", f"coarse image\n{days[1]}", f"truth\n{days[2]}",
            "off by 0.01", "off by 0.02", "mean |error| 0.0100", "mean |error| 0.0200",
        ]  # fmt: skip
        assert figure_of(axes).axes[-1].get_xlabel() == "|error|, mean of bands: reflectance"
        assert captions(axes) == ["true colour (red, green, blue); all stretched as the truth"]

    def test_missing_pixels_are_left_out_of_the_error(self, made):
        truth = made.truth.isel(time=1)
        half = (truth + 0.01).where(truth.x > truth.x[30])
        axes = xstf.plot.compare(truth, {str(n): half for n in range(4)})
        assert titles(axes)[5:] == ["mean |error| 0.0100"] * 4
        assert drawn(axes).std() > 1

    def test_what_does_not_fit(self, made):
        truth = made.truth.isel(time=1)
        with pytest.raises(ValueError, match=r"half has \(60, 30\) pixels and truth \(60, 60\)"):
            xstf.plot.compare(truth, {"half": truth.isel(x=slice(30))})
        with pytest.raises(ValueError, match=r"red has no bands .*, which truth has"):
            xstf.plot.compare(truth, {"red": truth.sel(band=["red"])})
        with pytest.raises(ValueError, match="estimates is empty"):
            xstf.plot.compare(truth, {})


class TestGaps:
    """What a cube misses."""

    def test_a_bar_a_date_and_pictures_of_marked_ones(self, cloudy):
        axes = xstf.plot.gaps(cloudy.cube)
        assert drawn(axes).std() > 1
        bars, *pictures, by_pixel = axes
        clear = cloudy.cube.notnull().all("band")
        heights = [bar.get_height() for bar in bars.patches]
        np.testing.assert_allclose(heights, 100 * clear.mean(("y", "x")), atol=1e-4)
        assert len({bar.get_facecolor() for bar in bars.patches}) == 2
        assert len(pictures) == 2
        assert pictures[0].get_title().endswith("% clear")
        assert legend(pictures[0]) == ["missing"]
        np.testing.assert_array_equal(by_pixel.images[0].get_array(), clear.sum("time"))
        words = "50 dates, 50% missing; pictured dates in colour"
        assert bars.get_title(loc="left") == words

    def test_only_dates_of_which_something_is_seen(self, cloudy):
        shown = titles(xstf.plot.gaps(cloudy.cube, most=50))[:-1]
        seen = cloudy.cube.notnull().any(("band", "y", "x"))
        assert [t[:10] for t in shown] == [str(d)[:10] for d in cloudy.cube.time.values[seen]]

    @pytest.mark.filterwarnings("ignore:every value of")
    def test_a_cube_that_is_all_missing(self, cloudy):
        assert drawn(xstf.plot.gaps(cloudy.cube.where(False).isel(time=[0, 1]))).std() > 1

    def test_it_needs_dates(self, cloudy):
        with pytest.raises(ValueError, match="cube has no dates"):
            xstf.plot.gaps(cloudy.cube.isel(time=0, drop=True))


class TestSeries:
    """A pixel through time."""

    def test_what_was_observed_filled_and_true(self, cloudy, filled):
        std = xr.full_like(filled, 0.02)
        at = {"y": float(cloudy.cube.y[4]), "x": float(cloudy.cube.x[7]) + 2}
        axes = xstf.plot.series(cloudy.cube, filled, std=std, truth=cloudy.truth, at=at)
        assert drawn(axes).std() > 1
        assert [a.get_ylabel() for a in axes] == [
            f"{b}\nreflectance" for b in cloudy.cube.band.values
        ]
        lines = {line.get_label(): line.get_ydata() for line in axes[2].lines}
        pixel = {"band": 2, "y": 4, "x": 7}
        np.testing.assert_array_equal(lines["observed"], cloudy.cube.isel(pixel))
        np.testing.assert_array_equal(lines["filled"], filled.isel(pixel))
        np.testing.assert_array_equal(lines["truth"], cloudy.truth.isel(pixel))
        (band,) = axes[2].collections
        height = np.ptp(band.get_paths()[0].vertices[:, 1])
        assert height >= 2 * 1.6449 * 0.02 + np.ptp(filled.isel(pixel).values) - 1e-6
        assert legend(axes[0]) == ["truth", "filled", "90 % interval", "observed"]
        x, y = float(cloudy.cube.x[7]), float(cloudy.cube.y[4])
        assert axes[-1].get_xlabel() == f"pixel at x = {x:.10g}, y = {y:.10g}"

    def test_the_bands_that_were_asked_of_the_middle_pixel(self, cloudy, filled):
        (axis,) = xstf.plot.series(cloudy.cube, filled, bands=["nir"])
        np.testing.assert_array_equal(
            axis.lines[0].get_ydata(), filled.isel(y=15, x=15).sel(band="nir")
        )

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"bands": ["purple"]}, r"no bands \['purple'\]"),
            ({"at": {"y": 0.0, "x": 0.0}}, "y=0.0 is not in cube"),
            ({"at": {"lat": 0.0}}, "at must give 'y' and 'x'"),
        ],
    )
    def test_it_says_what_is_not_there(self, cloudy, filled, options, match):
        with pytest.raises(ValueError, match=match):
            xstf.plot.series(cloudy.cube, filled, **options)


class TestBeforeAfter:
    """Dates before and after their gaps were filled."""

    def test_it_chooses_a_half_clear_date_and_prints_the_error(self, cloudy, filled):
        axes = xstf.plot.before_after(cloudy.cube, filled, cloudy.truth)
        assert drawn(axes).std() > 1
        before, after, truth = titles(axes)
        share = float(before.split("\n")[1].removesuffix("% clear"))
        assert 30 < share < 70
        assert after == "filled\nRMSE 0.0100 in gaps"
        assert truth == "truth"
        assert legend(axes[0]) == ["missing", "edge of what was filled"]

    def test_a_row_a_date(self, cloudy, filled):
        days = cloudy.cube.time[[3, 20]]
        shown = titles(xstf.plot.before_after(cloudy.cube, filled, time=days))
        assert [t[:10] for t in shown[::2]] == [str(d)[:10] for d in days.values]
        assert shown[1::2] == ["filled", "filled"]
        one = titles(xstf.plot.before_after(cloudy.cube, filled, time=str(days.values[0])[:10]))
        assert one[0] == shown[0]

    def test_a_day_without_a_date(self, cloudy, filled):
        with pytest.raises(ValueError, match="no date on 2020-01-01; the nearest is 2021-03-05"):
            xstf.plot.before_after(cloudy.cube, filled, time="2020-01-01")


class TestUncertainty:
    """How sure an estimate is, and what it was made of."""

    @staticmethod
    def result(cloudy, name="r"):
        """Return what a verb gives with its quality, made by hand."""
        gone = cloudy.cube.isnull()
        flag = gone.astype("uint8").assign_attrs(
            flag_values=np.arange(3), flag_meanings="observed filled_in_time filled_in_space"
        )
        std = xr.where(gone, 0.02, 0.001)
        return xr.Dataset({name: cloudy.truth, f"{name}_std": std, f"{name}_flag": flag})

    def test_it_draws_the_estimate_its_spread_and_its_flag(self, cloudy):
        result = self.result(cloudy)
        missing = cloudy.cube.isnull().mean(("band", "y", "x")).values
        at = int(np.abs(missing - 0.5).argmin())
        day = str(cloudy.cube.time.values[at])[:10]
        axes = xstf.plot.uncertainty(result, time=day)
        assert drawn(axes).std() > 1
        assert titles(axes) == [
            f"estimate\n{day}", "standard deviation\nmean of bands", "made of\n(flag)"
        ]  # fmt: skip
        shown = axes[1].images[0].get_array()
        np.testing.assert_allclose(shown, result.r_std.isel(time=at).mean("band"), rtol=1e-5)
        assert legend(axes[2]) == ["observed", "filled in time"]
        filled = result.r_flag.isel(time=at).max("band") == 1
        colours = axes[2].images[0].get_array()
        assert len({tuple(c) for c in colours[filled.values]}) == 1
        assert len({tuple(c) for c in colours.reshape(-1, 3)}) == 2

    def test_the_date_is_the_one_of_median_spread(self, cloudy):
        axes = xstf.plot.uncertainty(self.result(cloudy).isel(time=[0, 3, 5]))
        spread = self.result(cloudy).r_std.isel(time=[0, 3, 5]).mean(("band", "y", "x"))
        day = str(spread.time.values[int(spread.argsort()[1])])[:10]
        assert titles(axes)[0] == f"estimate\n{day}"

    def test_a_dataset_of_bands_is_one_picture(self, cloudy):
        day = cloudy.cube.time.values[2]
        bands = [self.result(cloudy, b).sel(band=b, drop=True) for b in ("red", "green", "nir")]
        axes = xstf.plot.uncertainty(xr.merge(bands), time=day)
        want = xstf.plot.uncertainty(
            self.result(cloudy).sel(band=["red", "green", "nir"]), time=day
        )
        for one, other in zip(axes, want, strict=True):
            np.testing.assert_allclose(one.images[0].get_array(), other.images[0].get_array())
        assert captions(axes) == captions(want)

    def test_a_result_without_its_quality(self, filled):
        with pytest.raises(TypeError, match="return_quality=True"):
            xstf.plot.uncertainty(filled)
        with pytest.raises(ValueError, match=r"none with both _std and _flag beside it"):
            xstf.plot.uncertainty(filled.to_dataset(name="r"))


def scores(**changed):
    """Return what an evaluation returns, made by hand."""
    names = ["unchanged", "auto", "starfm", "fsdaf"]
    coords = {"method": names, "time": np.array(["2021-01-01", "2021-02-01"], "M8[ns]"),
              "band": ["red", "nir"]}  # fmt: skip
    means = {
        "rmse": [0.02, 0.010, 0.011, 0.015], "rmse_low": [0.019, 0.009, 0.010, 0.014],
        "rmse_high": [0.021, 0.0105, 0.012, 0.016], "ssim": [0.5, 0.9, 0.8, 0.7],
        "edge": [0.01, -0.1, 0.05, -0.3],
    } | changed  # fmt: skip
    offset = np.array([[-0.001, 0.001], [0.001, -0.001]])  # of date and band; their mean is 0
    return xr.Dataset({
        name: (("method", "time", "band"), np.asarray(m)[:, None, None] + offset)
        for name, m in means.items()
    }, coords)  # fmt: skip


class TestScores:
    """Pictures of evaluations."""

    def test_rank_draws_the_best_first_and_marks_what_cannot_be_told_apart(self):
        given = scores()
        given.rmse.attrs["units"] = "reflectance"
        axis = xstf.plot.rank(given)
        assert drawn(axis).std() > 1
        assert [t.get_text() for t in axis.get_yticklabels()] == [
            "auto",
            "starfm",
            "fsdaf",
            "unchanged",
        ]
        intervals, marks = axis.lines[::2], axis.lines[1::2]
        np.testing.assert_allclose([m.get_xdata()[0] for m in marks], [0.010, 0.011, 0.015, 0.02])
        np.testing.assert_allclose(intervals[0].get_xdata(), [0.009, 0.0105])
        best, second, third, _ = (m.get_color() for m in marks)
        assert best == second != third
        assert axis.get_title() == "RMSE (reflectance), lower is better"
        assert "mean of 2 dates × 2 bands" in axis.get_xlabel()

    def test_rank_turns_for_scores_of_which_more_is_better_and_says_that_intervals_lack(self):
        axis = xstf.plot.rank(scores(), "ssim")
        assert axis.get_yticklabels()[0].get_text() == "auto"
        assert axis.get_title() == "SSIM, higher is better"
        assert "small differences may be noise" in axis.get_xlabel()
        assert axis.lines[1].get_color() != axis.lines[3].get_color()

    def test_rank_compares_where_all_methods_have_a_score(self):
        one = scores()
        one.rmse[1, 1] = np.nan  # auto lacks a date, on which it would be better than elsewhere
        one.rmse[3, 1] = 0.0
        marks = xstf.plot.rank(one[["rmse"]]).lines[1::2]
        np.testing.assert_allclose(
            sorted(m.get_xdata()[0] for m in marks), [0.010, 0.011, 0.015, 0.02]
        )
        with pytest.raises(ValueError, match="no rmse that all methods have"):
            xstf.plot.rank(one.isel(time=[1]))

    def test_rank_of_scores_that_are_not_there(self):
        with pytest.raises(ValueError, match="no score 'rmes'.*did you mean 'rmse'"):
            xstf.plot.rank(scores(), "rmes")
        with pytest.raises(ValueError, match="rmse needs a dim 'method'"):
            xstf.plot.rank(scores().isel({"method": 0}))

    def test_apa_draws_error_against_edges(self):
        axis = xstf.plot.apa(scores())
        assert drawn(axis).std() > 1
        (points,) = [line for line in axis.lines if len(line.get_xdata()) == 4]
        np.testing.assert_allclose(points.get_xdata(), [0.01, -0.1, 0.05, -0.3])
        np.testing.assert_allclose(points.get_ydata(), [0.02, 0.010, 0.011, 0.015])
        places = {t.get_text(): t for t in axis.texts}
        assert list(places) == ["auto", "starfm", "fsdaf", "unchanged"]
        assert places["fsdaf"].xy == (pytest.approx(-0.3), pytest.approx(0.015))

    def test_names_of_methods_that_are_equally_good_do_not_lie_on_each_other(self):
        names = [f"method {n}" for n in range(12)]
        values = xr.DataArray(np.full(12, 0.01), coords={"method": names})
        axis = xstf.plot.apa(xr.Dataset({"rmse": values, "edge": values}))
        drawn(axis)
        boxes = [plt.Text.get_window_extent(text) for text in axis.texts]  # without its line
        assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])

    def test_calibration_draws_shares_against_shares(self):
        level = [0.5, 0.9]
        covered = xr.DataArray(
            [[[0.4, 0.7], [0.5, 0.9]]] * 2, dims=("band", "method", "level"),
            coords={"method": ["gp", "auto"], "level": level},
        )  # fmt: skip
        axis = xstf.plot.calibration(covered.to_dataset(name="covered"))
        assert drawn(axis).std() > 1
        assert legend(axis) == ["gp", "auto"]
        np.testing.assert_allclose(axis.lines[1].get_xdata(), [50, 90])
        np.testing.assert_allclose(axis.lines[1].get_ydata(), [40, 70])
        alone = xstf.plot.calibration(covered.isel({"method": 0}).to_dataset(name="covered"))
        np.testing.assert_allclose(alone.lines[1].get_ydata(), [40, 70])
        with pytest.raises(ValueError, match="covered needs a dim and coordinate 'level'"):
            xstf.plot.calibration(covered.mean("level").to_dataset(name="covered"))
