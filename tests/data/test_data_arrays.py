"""Arrays and tensors: there and back, and what is refused."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pushforward.data import Data, Schema, fit_schema, take_rows
from pushforward.errors import DataError

LAYOUTS = [(6, 5, 4), (6, 5, 4, 1), (6, 5, 4, 3), (6, 1, 5, 4), (6, 3, 5, 4)]
DTYPES = ["uint8", "int16", "uint16", "int64", "float16", "float32", "float64", "bool"]


def pixels(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random(shape) > 0.5 if dtype == "bool" else (rng.random(shape) * 200).astype(dtype)


@pytest.mark.parametrize("shape", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_images_come_back_in_dtype_layout_and_range(shape: tuple[int, ...], dtype: str) -> None:
    x = pixels(shape, dtype)
    schema = fit_schema(x)
    encoded = schema.encode(x)
    channels = 3 if 3 in shape else 1
    assert schema.kind == "image"
    assert schema.event_shape == (channels, 5, 4) == tuple(encoded.shape[1:])
    assert encoded.dtype == torch.float32
    assert encoded.min() >= -1.00001
    assert encoded.max() <= 1.00001
    back = schema.decode(encoded)
    assert back.dtype == x.dtype
    assert back.shape == x.shape
    tolerance = {"float16": 0.2, "float32": 1e-4, "float64": 1e-4}.get(dtype, 0)
    np.testing.assert_allclose(back.astype(float), x.astype(float), rtol=0, atol=tolerance)
    wild = schema.decode(torch.randn(50, *schema.event_shape, generator=torch.Generator().manual_seed(0)) * 3)
    low, high = (0, 255) if dtype == "uint8" else (x.min(), x.max())
    assert wild.min() >= low
    assert wild.max() <= high


def test_bytes_use_the_whole_scale_and_small_counts_their_own() -> None:
    bright = pixels((5, 4, 4), "uint8")
    assert fit_schema(bright).encode(np.zeros((1, 4, 4), "uint8")).max() == -1
    counts = bright % 17
    assert fit_schema(counts).encode(counts).max() == pytest.approx(1)


def test_display_images_are_uint8_channels_last() -> None:
    x = pixels((6, 3, 5, 4), "uint8")
    schema = fit_schema(x)
    shown = schema.as_images(schema.encode(x))
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(shown, x.transpose(0, 2, 3, 1))
    with pytest.raises(DataError, match="not images"):
        fit_schema(np.random.default_rng(0).random((5, 2))).as_images(torch.zeros(1, 2))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.bfloat16, torch.int32])
def test_tensor_in_tensor_out(dtype: torch.dtype) -> None:
    x = (torch.rand(9, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 200).to(dtype)
    schema = fit_schema(x.requires_grad_(dtype.is_floating_point))
    back = schema.decode(schema.encode(x))
    assert back.dtype == dtype
    assert back.shape == x.shape
    assert torch.allclose(back.double(), x.detach().double(), atol=1e-3)


finite = {"allow_nan": False, "allow_infinity": False}
tables = hnp.arrays(
    np.float64,
    st.tuples(st.integers(2, 12), st.integers(1, 4)),
    elements=st.floats(-1e6, 1e6, **finite) | st.sampled_from([0.0, 1.0]),
)


@settings(max_examples=60, deadline=None)
@given(tables)
def test_vectors_come_back(x: np.ndarray) -> None:
    width = np.ptp(x, axis=0)
    width[width < np.finfo(np.float64).tiny] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not (width > 0).any():
            with pytest.raises(DataError, match="All columns are constant"):
                fit_schema(x)
            return
        schema = fit_schema(x)
    encoded = schema.encode(x)
    assert encoded.shape == (len(x), int((width > 0).sum()))
    assert torch.allclose(encoded.double().mean(0), torch.zeros(encoded.shape[1], dtype=torch.float64), atol=1e-4)
    assert torch.allclose(encoded.double().std(0, correction=0), torch.ones(encoded.shape[1]).double(), atol=1e-4)
    np.testing.assert_allclose(schema.decode(encoded), x, atol=1e-5 * max(1.0, float(width.max())))
    stored = schema.to_dict()
    again = Schema.from_dict(yaml.safe_load(yaml.safe_dump(stored)))
    assert again.to_dict() == stored == json.loads(json.dumps(stored))
    assert torch.equal(again.encode(x), encoded)
    wild = again.decode(encoded * 100)
    assert (wild >= x.min(0) - 0.05 * width - 1e-9).all()
    assert (wild <= x.max(0) + 0.05 * width + 1e-9).all()


def test_a_column_too_narrow_for_float64_is_constant() -> None:
    x = np.array([[1.0, 0.0], [0.0, 5e-324], [3.0, 1e-310]])
    with pytest.warns(UserWarning, match="1 of 2 columns are constant"):
        schema = fit_schema(x)
    assert schema.encode(x).shape == (3, 1)
    np.testing.assert_allclose(schema.decode(schema.encode(x)), x, atol=1e-6)
    narrow = x * [0.0, 1e10] + [1.0, 0.0]
    assert fit_schema(narrow).encode(narrow)[:, 0].std(correction=0) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64", "uint64", "bool", "float16", "float32"])
def test_vector_dtype_and_range(dtype: str) -> None:
    x = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 100, (40, 3)).astype(dtype)
    schema = fit_schema(x)
    back = schema.decode(schema.encode(x))
    assert back.dtype == x.dtype
    np.testing.assert_allclose(back.astype(float), x.astype(float), atol=0.05 if dtype == "float16" else 1e-4)
    if x.dtype.kind in "bui":
        wild = schema.decode(schema.encode(x) * 50)
        assert (wild >= x.min(0)).all()
        assert (wild <= x.max(0)).all()


def test_the_ends_of_64_bit_integers_do_not_overflow() -> None:
    limits = np.iinfo(np.int64)
    x = np.array([[limits.min + 1], [0], [limits.max]], dtype=np.int64)
    back = fit_schema(x).decode(torch.tensor([[-9.0], [0.0], [9.0]]))
    assert back[0, 0] < 0 < back[2, 0]


def test_columns_far_from_zero_keep_their_spread() -> None:
    x = 1e9 + np.random.default_rng(0).random((200, 2))
    schema = fit_schema(x)
    np.testing.assert_allclose(schema.decode(schema.encode(x)), x, rtol=0, atol=1e-6)


def test_constant_columns_are_named_and_restored() -> None:
    x = np.random.default_rng(0).random((20, 3))
    x[:, 1] = 0.1
    with pytest.warns(UserWarning, match=r"1 of 3 columns are constant \(1\)"):
        schema = fit_schema(x)
    assert schema.event_shape == (2,)
    assert (schema.decode(torch.randn(7, 2))[:, 1] == 0.1).all()


def test_data_in_0_to_300_stay_there() -> None:
    x = np.random.default_rng(0).random((50, 8, 8)) * 300
    out = fit_schema(x).decode(torch.randn(20, 1, 8, 8) * 2)
    assert out.min() >= x.min() >= 0
    assert out.max() <= x.max() <= 300


BAD = [
    (np.zeros((0, 3)), "0 rows"),
    (np.zeros((1, 3)), "one row"),
    (np.zeros(7), r"one-dimensional.*reshape\(-1, 1\)"),
    (np.array(3.0), "0 axes"),
    (np.zeros((3, 4, 4, 3, 2)), "5 axes"),
    (np.zeros((4, 0)), "no columns"),
    (np.zeros((4, 0, 3)), "no pixels"),
    (np.ones((4, 3)), "All columns are constant"),
    (np.ones((4, 5, 6)), "All pixels"),
    (np.zeros((4, 3, 8, 3)), r"read as \[n, h, w, c\] and as"),
    (np.zeros((4, 8, 8, 4)), "alpha channel"),
    (np.zeros((64, 64, 3)), r"one image.*x\[None\]"),
    (np.zeros((64, 64, 1)), r"one image.*x\[None\]"),
    (np.array([[1, "a"]] * 3, dtype=object), r"dtype object.*astype\(float\)"),
    (np.array([["a"], ["b"]]), "dtype <U1"),
    (np.zeros((3, 2), dtype=complex), "dtype complex128"),
    (np.ma.masked_less(np.arange(6.0).reshape(3, 2), 2), "masked"),
    (torch.eye(3).to_sparse(), "sparse.*dense"),
    (torch.empty(3, 2, device="meta"), r"meta device: it has a shape, \[3, 2\]"),
    ([[1, 2], [3, 4]], "type list"),
    (np.array([[-1.7e308], [1.7e308]]), "too far for float64"),
]


@pytest.mark.parametrize(("values", "message"), BAD, ids=[message[:20] for _, message in BAD])
def test_bad_arrays_are_refused_with_the_fix(values: object, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        fit_schema(values)
    assert "Fix:" in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite_values_are_counted_and_placed(bad: float) -> None:
    x = np.random.default_rng(0).random((6, 3))
    x[2, 1] = x[4, 0] = bad
    with pytest.raises(DataError, match=rf"2 values .* first is {bad} at index \(2, 1\).*Fix"):
        fit_schema(x)
    good = fit_schema(np.random.default_rng(0).random((6, 3)))
    with pytest.raises(DataError, match="NaN or infinite"):
        good.encode(x)


def test_encode_refuses_what_does_not_fit() -> None:
    vectors, images = fit_schema(np.random.default_rng(0).random((6, 3))), fit_schema(pixels((6, 5, 4), "uint8"))
    with pytest.raises(DataError, match=r"vectors \[n, 3\]"):
        vectors.encode(np.zeros((4, 2)))
    with pytest.raises(DataError, match=r"images \[n, 5, 4\]"):
        images.encode(np.zeros((4, 5, 5), "uint8"))
    with pytest.raises(DataError, match="dtype float64"):
        images.encode(np.zeros((4, 5, 4)))
    with pytest.raises(DataError, match="same scale"):
        fit_schema(np.random.default_rng(0).random((6, 5, 4))).encode(np.full((2, 5, 4), 255.0))
    with pytest.raises(DataError, match="were given|was given"):
        vectors.decode(torch.zeros(4, 2))
    with pytest.raises(DataError, match="NaN"):
        vectors.decode(torch.full((4, 3), torch.nan))
    with pytest.raises(DataError, match="no kind of data"):
        Schema.from_dict({"kind": "sound"})


NO_ROWS = [
    (torch.eye(3).to_sparse(), "sparse"),
    (torch.empty(3, 2, device="meta"), "meta device"),
    (np.array(3.0), "a single number, not rows"),
    (torch.tensor(3.0), "a single number, not rows"),
]


@pytest.mark.parametrize(("values", "message"), NO_ROWS, ids=["sparse", "meta", "0-d", "0-d tensor"])
def test_rows_that_cannot_be_taken(values: object, message: str) -> None:
    with pytest.raises(DataError, match=f"{message}.*Fix:"):
        take_rows(values, np.array([0]))


def test_a_mask_survives_until_it_is_refused() -> None:
    masked = np.ma.masked_less(np.arange(6.0).reshape(3, 2), 2)
    with pytest.raises(DataError, match="masked"):
        fit_schema(take_rows(masked, np.array([0, 1])))


@pytest.mark.parametrize("far", [1e40, -1e200, 1.7e308])
def test_values_far_out_are_encoded_without_overflow(far: float) -> None:
    schema = fit_schema(np.random.default_rng(0).normal(size=(50, 2)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoded = schema.encode(np.array([[far, 0.0]]))
    assert torch.isfinite(encoded).all()
    assert encoded[0, 0] == np.sign(far) * 1e6


def test_one_row_and_no_row_can_be_encoded() -> None:
    x = pixels((6, 5, 4), "uint8")
    schema = fit_schema(Data(x))
    assert schema.encode(x[:1]).shape == (1, 1, 5, 4)
    assert schema.encode(x[:0]).shape == (0, 1, 5, 4)
    assert schema.decode(torch.zeros(0, 1, 5, 4)).shape == (0, 5, 4)
    assert schema.n_rows == 6
    assert "5 x 4" in schema.summary()


def test_the_data_are_not_changed() -> None:
    for x in (pixels((6, 5, 4), "float32"), np.random.default_rng(0).random((9, 3))):
        before = x.copy()
        schema = fit_schema(x)
        schema.decode(schema.encode(x))
        np.testing.assert_array_equal(x, before)
