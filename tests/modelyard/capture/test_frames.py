"""What a manifest says about data is true of the data."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.capture import About, PublishError, frames
from modelyard.spec.manifest import CategoricalBaseline, FeatureType, NumericBaseline

NUMBERS = st.lists(
    st.floats(-1e6, 1e6, width=32) | st.none() | st.integers(-3, 3), min_size=1, max_size=200
).filter(lambda values: any(value is not None for value in values))


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "whole": [1, 2, 3, 4],
            "number": [0.5, np.nan, 2.5, 3.5],
            "flag": [True, False, True, True],
            "text": ["b", "a", None, "b"],
        }
    )


@given(NUMBERS)
def test_every_present_value_is_counted_in_the_bin_it_lies_in(values: list[float | None]) -> None:
    column = pd.Series(values, dtype=np.float64)
    baseline = frames.baseline(column)
    assert isinstance(baseline, NumericBaseline)
    present = column.dropna()
    bounds = [-np.inf, *baseline.edges, np.inf]
    counted = [int(((present > low) & (present <= high)).sum()) for low, high in itertools.pairwise(bounds)]
    assert list(baseline.counts) == counted
    assert sum(counted) == len(present)
    assert len(counted) <= frames.BINS
    assert baseline.counts[-1] > 0, "the open bin above the last edge must not be empty in training"
    assert baseline.missing == pytest.approx(column.isna().mean(), rel=1e-5)


def test_quantile_bins_are_even_and_ignore_an_outlier() -> None:
    column = pd.Series([*np.arange(1000.0), 1e9])
    baseline = frames.baseline(column)
    assert isinstance(baseline, NumericBaseline)
    assert len(baseline.counts) == 10
    assert max(baseline.counts) - min(baseline.counts) <= 1


def test_many_zeros_leave_a_bin_for_what_is_above() -> None:
    baseline = frames.baseline(pd.Series([0.0] * 95 + [1.0, 2.0, 3.0, 4.0, 5.0]))
    assert isinstance(baseline, NumericBaseline)
    assert (baseline.edges, baseline.counts) == ((0.0,), (95, 5))


def test_categories_are_counted_and_booleans_too() -> None:
    (known,) = frames.categorize(frame())
    text = frames.baseline(known["text"])
    assert isinstance(text, CategoricalBaseline)
    assert (text.counts, text.missing) == ({"a": 1, "b": 2}, 0.25)
    flag = frames.baseline(known["flag"])
    assert isinstance(flag, CategoricalBaseline)
    assert flag.counts == {"false": 1, "true": 3}


def test_signature_names_types_ranges_categories_and_what_may_be_missing() -> None:
    (known,) = frames.categorize(frame())
    whole, number, flag, text = frames.features(known, {name: About(f"The {name}") for name in known})
    assert (whole.type, whole.range, whole.nullable) == (FeatureType.INT64, (1, 4), False)
    assert (number.type, number.range, number.nullable) == (FeatureType.FLOAT64, (0.5, 3.5), True)
    assert (flag.type, flag.range, flag.categories) == (FeatureType.BOOL, None, None)
    assert (text.type, text.categories, text.nullable) == (FeatureType.STRING, ("a", "b"), True)
    assert text.description == "The text"


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pd.Series(pd.to_datetime(["2026-01-01"])), "Column 'c' is datetime64.*: give the seconds or days"),
        (pd.Series([1 + 2j]), "Column 'c' is complex128; a feature is"),
        (pd.Series([{}]), "Column 'c' holds objects, of type dict; a feature is"),
        (pd.Series([np.nan, np.nan]), "Column 'c' is empty in training"),
        (pd.Series([1.0, np.inf]), "Column 'c' holds an infinite number"),
        (pd.Series([f"t{i}" for i in range(1001)]), "Column 'c' has 1,001 different texts"),
    ],
)
def test_columns_that_can_be_no_feature_are_refused(column: pd.Series, message: str) -> None:
    (table,) = frames.categorize(pd.DataFrame({"c": column}))
    with pytest.raises(PublishError, match=message):
        frames.features(table, {})


def test_what_is_described_must_be_there() -> None:
    with pytest.raises(PublishError, match="about: 'weight' is no feature; the features are whole, flag"):
        frames.features(frame()[["whole", "flag"]], {"weight": About("not there")})


def test_optional_booleans_and_strings_of_every_kind_are_features() -> None:
    table = pd.DataFrame(
        {
            "maybe": [True, None, False],
            "nullable": pd.array([True, None, False], "boolean"),
            "text": pd.array(["b", None, "a"], "string"),
            "small": pd.array([1, None, 3], "Int8"),
        }
    )
    (known,) = frames.categorize(table)
    described = frames.features(known, {})
    kinds = [FeatureType.BOOL, FeatureType.BOOL, FeatureType.STRING, FeatureType.INT64]
    assert [feature.type for feature in described] == kinds
    assert all(feature.nullable for feature in described)
    expected = [[1, 1, 1, 1], [np.nan] * 4, [0, 0, 0, 3]]
    np.testing.assert_array_equal(frames.encode(known), np.array(expected, np.float32))


@given(
    st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=30).filter(any),
    st.lists(st.sampled_from(["a", "b", "c", "d", "e", None]), min_size=1, max_size=30),
)
def test_every_text_is_encoded_as_its_place_or_as_missing(train: list[str], later: list[str]) -> None:
    known, other = frames.categorize(pd.DataFrame({"t": train}), pd.DataFrame({"t": later}))
    categories = frames.features(known, {})[0].categories
    assert categories == tuple(sorted({text for text in train if text}))
    for text, code in zip(later, frames.encode(other)[:, 0], strict=True):
        assert code == categories.index(text) if text in categories else np.isnan(code)


def test_encoding_is_the_place_in_the_categories_and_unknown_is_missing() -> None:
    train, later = frames.categorize(frame(), frame().assign(text=["c", "b", "a", None]))
    expected = [[1, 0.5, 1, np.nan], [2, np.nan, 0, 1], [3, 2.5, 1, 0], [4, 3.5, 1, np.nan]]
    np.testing.assert_array_equal(frames.encode(later), np.array(expected, np.float32))
    np.testing.assert_array_equal(frames.encode(train)[:, 3], [1, 0, np.nan, 1])


def test_given_order_of_categories_is_kept() -> None:
    grades = pd.DataFrame({"cut": pd.Categorical(["Ideal", "Fair"], ["Fair", "Good", "Ideal"])})
    (kept,) = frames.categorize(grades)
    assert frames.features(kept, {})[0].categories == ("Fair", "Good", "Ideal")
    assert frames.encode(kept)[:, 0].tolist() == [2, 0]


def test_digest_depends_on_content_and_not_on_how_it_is_stored() -> None:
    first = frames.digest(frame())
    stored_otherwise = frame().astype({"whole": "int8", "text": "category"})
    stored_otherwise.index = [9, 8, 7, 6]
    assert frames.digest(stored_otherwise) == first


@pytest.mark.parametrize(
    "changed",
    [
        frame().assign(whole=[1, 2, 3, 5]),  # the last row of one column
        frame().assign(text=["b", "a", "b", None]),
        frame().assign(text=["b", "a", "", "b"]),  # empty is not missing
        frame().assign(number=[0.5, 0.0, 2.5, 3.5]),
        frame().rename(columns={"whole": "all"}),
        frame()[["number", "whole", "flag", "text"]],
        frame().iloc[::-1],
        frame().iloc[:3],
    ],
)
def test_digest_changes_with_any_change_of_the_content(changed: pd.DataFrame) -> None:
    assert frames.digest(changed) != frames.digest(frame())


def test_whole_numbers_that_floats_take_for_the_same_have_digests_of_their_own() -> None:
    large = pd.DataFrame({"id": [2**53, 2**53 + 1, -(2**60)]})
    other = pd.DataFrame({"id": [2**53, 2**53 + 2, -(2**60)]})
    near = pd.DataFrame({"id": [2**53, 2**53, -(2**60)]})
    assert len({frames.digest(large), frames.digest(other), frames.digest(near)}) == 3
    assert frames.digest(large) == frames.digest(large.astype("Int64"))
    holes = pd.DataFrame({"id": pd.array([2**53, 2**53 + 1, None], "Int64")})
    assert frames.digest(holes) != frames.digest(large)
    assert frames.digest(pd.DataFrame({"id": [2**64 - 1]})) != frames.digest(
        pd.DataFrame({"id": [2**64 - 2]})
    )
