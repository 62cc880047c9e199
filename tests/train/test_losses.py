"""Losses against plain formulas, and the silence of pixels whose truth is unknown."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

torch = pytest.importorskip("torch", reason="needs torch")

from xstf.train.losses import TERMS, compose, least_squares_critic, least_squares_generator, pyramid  # noqa: E402

NAMES = [
    "l1", "mse", "charbonnier", "ssim", "ms_ssim", "cosine", "angle", "haar",
    "feature_mse", "feature_l1", "feature_cosine",
]  # fmt: skip
POWERS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
ALL = {**TERMS, "pyramid_l1": pyramid(TERMS["l1"]), "pyramid_haar": pyramid(TERMS["haar"])}


class Features(torch.nn.Module):
    """A frozen encoder with two levels."""

    def __init__(self, bands: int = 2):
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.first = torch.nn.Conv2d(bands, 4, 3, padding=1)
        self.second = torch.nn.Conv2d(4, 6, 3, stride=2, padding=1)
        for weight in self.parameters():
            weight.data = torch.randn(weight.shape, generator=generator) * 0.4
            weight.requires_grad_(False)

    def encode(self, image):
        one = torch.tanh(self.first(image))
        return [one, self.second(one)]


class Identity:
    """An encoder whose features are the image."""

    def encode(self, image):
        return image


def images(shape=(2, 2, 24, 26), seed=0, noise=0.15):
    """Return (estimate, truth, valid): smooth ramps and noise between 0 and 1, a third unknown."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0.2, 0.8, shape[-1]) * np.linspace(0.5, 1, shape[-2])[:, None]
    truth = ramp + 0.1 * rng.standard_normal(shape)
    estimate = truth + noise * rng.standard_normal(shape)
    valid = rng.random(shape) > 0.2
    valid[0, :, : shape[2] // 3] = False
    return tuple(torch.tensor(a) for a in (estimate.astype("f4"), truth.astype("f4"), valid))


def full(estimate):
    return torch.ones_like(estimate, dtype=torch.bool)


def value_and_gradient(term, estimate, truth, valid, bands=2):
    estimate = estimate.clone().requires_grad_()
    value = term(estimate, truth, valid, features=Features(bands))
    value.backward()
    return value.detach(), estimate.grad


def test_the_terms_are_these():
    assert list(TERMS) == NAMES


# --- what every term owes -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_what_lies_where_nothing_is_known_is_without_influence(name):
    estimate, truth, valid = images()
    value, gradient = value_and_gradient(ALL[name], estimate, truth, valid)
    assert value > 1e-4
    assert gradient.abs().sum() > 0
    assert (gradient[~valid] == 0).all()
    for junk in (7.0, -1e6, math.nan, math.inf):
        other = torch.where(valid, estimate, torch.tensor(junk))
        unknown = torch.where(valid, truth, torch.tensor(-junk))
        changed, slope = value_and_gradient(ALL[name], other, unknown, valid)
        assert changed == value
        assert torch.equal(slope, gradient)


@pytest.mark.parametrize("name", ALL)
def test_nothing_known_gives_zero_and_zero_gradients(name):
    estimate, truth, valid = images()
    value, gradient = value_and_gradient(
        ALL[name], estimate, torch.full_like(truth, math.nan), torch.zeros_like(valid)
    )
    assert value == 0
    assert torch.equal(gradient, torch.zeros_like(estimate))


@pytest.mark.parametrize("name", ALL)
def test_an_image_of_the_batch_without_truth_changes_nothing(name):
    estimate, truth, valid = images()
    valid[1] = False
    value, _ = value_and_gradient(ALL[name], estimate, truth, valid)
    alone, _ = value_and_gradient(ALL[name], estimate[:1], truth[:1], valid[:1])
    torch.testing.assert_close(value, alone)


@pytest.mark.parametrize("name", ALL)
def test_masks_may_be_numbers(name):
    estimate, truth, valid = images()
    a, b = (ALL[name](estimate, truth, v, features=Features()) for v in (valid, valid.float()))
    assert a == b


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_those_of_the_value(name):
    estimate, truth, valid = images((1, 2, 12, 13), seed=3)
    features = Features().double()
    estimate, truth = estimate.double().requires_grad_(), truth.double()

    def call(image):
        return ALL[name](image, truth, valid, features=features)

    assert torch.autograd.gradcheck(call, (estimate,), eps=1e-7, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("name", ALL)
def test_a_perfect_estimate_costs_nothing_much(name):
    _, truth, valid = images()
    value, gradient = value_and_gradient(ALL[name], truth, truth, valid)
    assert value < {"charbonnier": 1.001e-3, "angle": 1.6e-3}.get(name, 2e-6)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_a_descent_along_the_gradient_comes_nearer(name):
    estimate, truth, valid = images()
    estimate = estimate.requires_grad_()
    optimiser = torch.optim.Adam([estimate], lr=0.02)
    costs = []
    for _ in range(25):
        optimiser.zero_grad()
        cost = ALL[name](estimate, truth, valid, features=Features())
        cost.backward()
        optimiser.step()
        costs.append(float(cost.detach()))
    assert costs[-1] < 0.6 * costs[0]


@pytest.mark.parametrize("name", ALL)
def test_half_types_are_computed_in_float32(name):
    estimate, truth, valid = images()
    estimate, truth = estimate.bfloat16(), truth.bfloat16()
    value = ALL[name](estimate, truth, valid, features=Features())
    assert value.dtype == torch.float32
    wanted = ALL[name](estimate.float(), truth.float(), valid, features=Features())
    torch.testing.assert_close(value, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["ssim", "ms_ssim", "mse", "haar", "angle"])
def test_autocast_takes_no_digits(name):
    estimate, truth, valid = images()
    wanted = TERMS[name](estimate, truth, valid)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(TERMS[name](estimate, truth, valid), wanted)


def test_shapes_that_differ_are_refused():
    estimate, truth, valid = images()
    for bad in ((estimate, truth[:1], valid), (estimate, truth, valid[:, :1]), (estimate[0],) * 3):
        with pytest.raises(ValueError, match=r"are \(n, band, y, x\) alike, not \["):
            TERMS["l1"](*bad)


# --- plain formulas -------------------------------------------------------------------------------


def test_errors_of_pixels():
    estimate, truth, valid = images()
    error = (estimate - truth)[valid].double()
    for name, wanted in {
        "l1": error.abs().mean(),
        "mse": (error**2).mean(),
        "charbonnier": (error**2 + 1e-6).sqrt().mean(),
    }.items():
        torch.testing.assert_close(TERMS[name](estimate, truth, valid).double(), wanted)


def spectra(estimate, truth, valid):
    """Return cosines of the pixels that have all bands, in numpy."""
    there = valid.all(dim=1).numpy()
    e, t = (np.moveaxis(a.numpy().astype("f8"), 1, -1)[there] for a in (estimate, truth))
    return (e * t).sum(-1) / np.linalg.norm(e, axis=-1) / np.linalg.norm(t, axis=-1)


def test_spectral_terms():
    estimate, truth, valid = images((2, 4, 9, 7))
    found = spectra(estimate, truth, valid)
    assert float(TERMS["cosine"](estimate, truth, valid)) == pytest.approx(
        np.mean(1 - found), rel=1e-4
    )
    assert float(TERMS["angle"](estimate, truth, valid)) == pytest.approx(
        np.mean(np.arccos(found)), rel=1e-4
    )


def test_spectral_terms_of_one_band_are_zero():
    estimate, truth, valid = images((2, 1, 9, 7))
    for name in ("cosine", "angle"):
        value, gradient = value_and_gradient(TERMS[name], estimate, truth, valid, bands=1)
        assert value == 0
        assert (gradient == 0).all()


def test_angle_of_known_spectra():
    truth = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    for degrees in (10.0, 90.0, 180.0):
        radians = math.radians(degrees)
        estimate = torch.tensor([math.cos(radians), math.sin(radians)]).view(1, 2, 1, 1) * 3
        found = float(TERMS["angle"](estimate, truth, full(truth)))
        assert found == pytest.approx(radians, abs=2e-3)


def test_black_pixels_have_finite_gradients():
    truth = torch.zeros(1, 3, 4, 4)
    for name in ("cosine", "angle"):
        value, gradient = value_and_gradient(TERMS[name], truth, truth, full(truth), bands=3)
        assert value.isfinite()
        assert gradient.isfinite().all()


def test_haar_is_the_transform_of_blocks():
    estimate, truth, _ = images((2, 2, 9, 7))
    error = (estimate - truth).numpy().astype("f8")[..., :8, :6]
    low, high = np.array([1, 1]) / math.sqrt(2), np.array([1, -1]) / math.sqrt(2)
    blocks = error.reshape(2, 2, 4, 2, 3, 2)
    wanted = sum(
        np.abs(np.einsum("nbyixj,i,j->nbyx", blocks, v, h)).mean()
        for v in (low, high)
        for h in (low, high)
    )
    assert float(TERMS["haar"](estimate, truth, full(truth))) == pytest.approx(wanted, rel=1e-5)


def test_haar_of_a_hole_keeps_the_level():
    """A constant error costs 2 in the coarse band, whatever share of pairs of rows is known."""
    truth = torch.zeros(1, 1, 8, 8)
    valid = full(truth)
    assert float(TERMS["haar"](truth + 1, truth, valid)) == pytest.approx(2)
    valid[..., :4, :] = False
    assert float(TERMS["haar"](truth + 1, truth, valid)) == pytest.approx(2)


# --- windows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_ssim_is_that_of_scikit_image(offset):
    """Also far from 0, where squares lose the digits of variances."""
    metrics = pytest.importorskip("skimage.metrics", reason="needs scikit-image")
    estimate, truth, _ = images((2, 3, 31, 24))
    estimate, truth = estimate + offset, truth + offset
    found = float(TERMS["ssim"](estimate, truth, full(truth)))
    wanted = np.mean([
        metrics.structural_similarity(
            e, t, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for e, t in zip(
            estimate.double().flatten(0, 1).numpy(), truth.double().flatten(0, 1).numpy(),
            strict=True,
        )
    ])  # fmt: skip
    assert 1 - found == pytest.approx(wanted, abs=2e-5)


def contrasts(e, t):
    """Return SSIM's map and its contrast-structure part of two images, by scipy."""

    def blur(image):
        return gaussian_filter(image, 1.5, truncate=3.5)[5:-5, 5:-5]

    means = blur(e), blur(t)
    var_e, var_t = blur(e * e) - means[0] ** 2, blur(t * t) - means[1] ** 2
    cov = blur(e * t) - means[0] * means[1]
    contrast = (2 * cov + 9e-4) / (var_e + var_t + 9e-4)
    luminance = (2 * means[0] * means[1] + 1e-4) / (means[0] ** 2 + means[1] ** 2 + 1e-4)
    return luminance * contrast, contrast


@pytest.mark.parametrize(("side", "levels"), [(11, 1), (21, 1), (22, 2), (64, 3), (176, 5)])
def test_ms_ssim_is_the_product_over_the_scales_there_is_room_for(side, levels):
    estimate, truth, _ = images((1, 1, side, side + 3), noise=0.05)
    e, t = (a[0, 0].numpy().astype("f8") for a in (estimate, truth))
    powers, product = POWERS[:levels] / POWERS[:levels].sum(), 1.0
    for level, power in enumerate(powers):
        whole, contrast = contrasts(e, t)
        product *= (whole if level == levels - 1 else contrast).mean() ** power
        rows, columns = e.shape[0] // 2 * 2, e.shape[1] // 2 * 2
        e, t = (
            a[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2).mean((1, 3)) for a in (e, t)
        )
    found = float(TERMS["ms_ssim"](estimate, truth, full(truth)))
    assert 1 - found == pytest.approx(product, abs=2e-5)


def test_ssim_of_masked_images_is_that_of_their_windows():
    """Every window by loops: moments over valid pixels, counted by the valid share."""
    estimate, truth, valid = images((1, 1, 14, 13), seed=8)
    e, t, v = (a[0, 0].numpy().astype("f8") for a in (estimate, truth, valid))
    line = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    kernel = np.outer(line, line) / line.sum() ** 2
    total = shares = 0.0
    for y in range(4):
        for x in range(3):
            w = kernel * v[y : y + 11, x : x + 11]
            a, b = e[y : y + 11, x : x + 11], t[y : y + 11, x : x + 11]
            share = w.sum()
            ma, mb = (w * a).sum() / share, (w * b).sum() / share
            va, vb = (w * (a - ma) ** 2).sum() / share, (w * (b - mb) ** 2).sum() / share
            cov = (w * (a - ma) * (b - mb)).sum() / share
            similar = (2 * ma * mb + 1e-4) * (2 * cov + 9e-4)
            similar /= (ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)
            total, shares = total + share * (1 - similar), shares + share
    assert float(TERMS["ssim"](estimate, truth, valid)) == pytest.approx(total / shares, abs=2e-5)


def test_ms_ssim_of_the_opposite_has_finite_gradients():
    """Negative contrast terms have no fractional power: they count as the least."""
    _, truth, valid = images()
    value, gradient = value_and_gradient(TERMS["ms_ssim"], 1 - truth, truth, valid)
    assert 0.9 < value <= 1
    assert gradient.isfinite().all()


def test_ms_ssim_of_an_opposite_texture_still_sees_the_coarse_scale():
    """Were the fine scale's factor 0 instead of the least, no scale would pass a gradient."""
    y, x = torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    ramp, texture = (x + y) / 48, 0.2 * (-1.0) ** (x + y)
    truth, estimate = ((ramp + sign * texture)[None, None] for sign in (1, -1))
    value, gradient = value_and_gradient(
        TERMS["ms_ssim"], 0.8 * estimate, truth, full(truth), bands=1
    )
    assert 0.5 < value < 1
    assert gradient.abs().max() > 1e-6


@pytest.mark.parametrize("name", ["ssim", "ms_ssim"])
def test_a_patch_without_room_for_a_window_is_refused(name):
    with pytest.raises(ValueError, match="patches of 11 pixels or more a side, not 10"):
        TERMS[name](*images((1, 1, 20, 10)))


# --- features -------------------------------------------------------------------------------------


def test_features_that_are_the_image_give_the_terms_of_pixels():
    """With masks alike in all bands: a place's weight is the mean over bands."""
    estimate, truth, valid = images((2, 3, 8, 9))
    valid = valid[:, :1].expand(-1, 3, -1, -1)
    for feature, plain in {
        "feature_mse": "mse",
        "feature_l1": "l1",
        "feature_cosine": "cosine",
    }.items():
        found = TERMS[feature](estimate, truth, valid, features=Identity())
        torch.testing.assert_close(found, TERMS[plain](estimate, truth, valid))


def test_features_of_several_levels_are_averaged():
    estimate, truth, _ = images()
    features = Features()
    pairs = zip(features.encode(estimate), features.encode(truth), strict=True)
    wanted = np.mean([float(((e - t) ** 2).mean()) for e, t in pairs])
    found = float(TERMS["feature_mse"](estimate, truth, full(truth), features=features))
    assert found == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("feature")])
def test_features_that_are_lacking_are_asked_for(name):
    with pytest.raises(ValueError, match=f"loss '{name}' needs features"):
        TERMS[name](*images())


# --- what is made of terms ------------------------------------------------------------------------


def test_pyramid_sums_over_smaller_images():
    estimate, truth, valid = images((1, 2, 12, 9))
    e, t, v = (a.numpy().astype("f8") for a in (estimate, truth, valid))
    wanted = 0.0
    for block in (1, 2, 4):
        total = shares = 0.0
        for n, b, y, x in np.ndindex(1, 2, 12 // block, 9 // block):
            cut = (n, b, slice(y * block, (y + 1) * block), slice(x * block, (x + 1) * block))
            share = v[cut].mean()
            if share:
                error = abs((e[cut] * v[cut]).sum() - (t[cut] * v[cut]).sum()) / v[cut].sum()
                total, shares = total + share * error, shares + share
        wanted += total / shares
    assert float(pyramid(TERMS["l1"])(estimate, truth, valid)) == pytest.approx(wanted, rel=1e-5)


def test_pyramid_refuses_what_has_no_blocks():
    for scales in ((1, 0.4), (2,), (0,), (-0.5,), (math.nan,)):
        with pytest.raises(ValueError, match="one over whole numbers"):
            pyramid(TERMS["l1"], scales)
    with pytest.raises(ValueError, match="scales are none"):
        pyramid(TERMS["l1"], ())
    with pytest.raises(ValueError, match="has no block of 16"):
        pyramid(TERMS["l1"], (1, 1 / 16))(*images((1, 1, 20, 12)))


def test_least_squares_of_scores():
    real, fake = torch.tensor([1.0, 0.5]), torch.tensor([0.0, 2.0])
    assert float(least_squares_critic(real, fake)) == pytest.approx((0.125 + 2) / 2)
    assert float(least_squares_generator(fake)) == pytest.approx(1)
    # scales count alike, however many scores they have
    several = [torch.ones(2, 1, 8, 8), torch.zeros(2, 1, 4, 4)]
    assert float(least_squares_generator(several)) == pytest.approx(0.5)
    assert float(least_squares_critic(several, several)) == pytest.approx(0.5)


def test_the_critic_is_content_with_right_scores_only():
    one, zero = torch.ones(3), torch.zeros(3)
    assert float(least_squares_critic(one, zero)) == 0
    assert float(least_squares_critic(zero, one)) == 1


def test_compose_sums_weighted_terms():
    estimate, truth, valid = images()
    estimate.requires_grad_()
    total, parts = compose([("mse", 1.0), ("feature_mse", 0.5), ("ms_ssim", 0.8)])(
        estimate, truth, valid, Features()
    )
    assert list(parts) == ["mse", "feature_mse", "ms_ssim"]
    assert not any(part.requires_grad for part in parts.values())
    wanted = parts["mse"] + 0.5 * parts["feature_mse"] + 0.8 * parts["ms_ssim"]
    torch.testing.assert_close(total.detach(), wanted)
    total.backward()
    assert estimate.grad.abs().sum() > 0


def test_compose_refuses_what_is_no_loss():
    with pytest.raises(ValueError, match=r"no loss 'l3'; there are \['angle', 'charbonnier'"):
        compose([("l3", 1.0)])
    with pytest.raises(ValueError, match="'l1' is there twice"):
        compose([("l1", 1.0), ("l1", 2.0)])
    for weight in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="must be above 0"):
            compose([("l1", weight)])
    with pytest.raises(ValueError, match="a loss of no terms"):
        compose([])
