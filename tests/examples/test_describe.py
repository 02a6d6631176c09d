"""What a manifest says about data is true of the data."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import describe
from examples.describe import About
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
    baseline = describe.baseline(column)
    assert isinstance(baseline, NumericBaseline)
    present = column.dropna()
    bounds = [-np.inf, *baseline.edges, np.inf]
    counted = [int(((present > low) & (present <= high)).sum()) for low, high in itertools.pairwise(bounds)]
    assert list(baseline.counts) == counted
    assert sum(counted) == len(present)
    assert len(counted) <= describe.BINS
    assert baseline.counts[-1] > 0, "the open bin above the last edge must not be empty in training"
    assert baseline.missing == pytest.approx(column.isna().mean(), rel=1e-5)


def test_quantile_bins_are_even_and_ignore_an_outlier() -> None:
    column = pd.Series([*np.arange(1000.0), 1e9])
    baseline = describe.baseline(column)
    assert isinstance(baseline, NumericBaseline)
    assert len(baseline.counts) == 10
    assert max(baseline.counts) - min(baseline.counts) <= 1


def test_many_zeros_leave_a_bin_for_what_is_above() -> None:
    baseline = describe.baseline(pd.Series([0.0] * 95 + [1.0, 2.0, 3.0, 4.0, 5.0]))
    assert isinstance(baseline, NumericBaseline)
    assert (baseline.edges, baseline.counts) == ((0.0,), (95, 5))


def test_categories_are_counted_and_booleans_too() -> None:
    (known,) = describe.categorize(frame())
    text = describe.baseline(known["text"])
    assert isinstance(text, CategoricalBaseline)
    assert (text.counts, text.missing) == ({"a": 1, "b": 2}, 0.25)
    flag = describe.baseline(known["flag"])
    assert isinstance(flag, CategoricalBaseline)
    assert flag.counts == {"false": 1, "true": 3}


def test_signature_names_types_ranges_categories_and_what_may_be_missing() -> None:
    (known,) = describe.categorize(frame())
    whole, number, flag, text = describe.features(known, {name: About(f"The {name}") for name in known})
    assert (whole.type, whole.range, whole.nullable) == (FeatureType.INT64, (1, 4), False)
    assert (number.type, number.range, number.nullable) == (FeatureType.FLOAT64, (0.5, 3.5), True)
    assert (flag.type, flag.range, flag.categories) == (FeatureType.BOOL, None, None)
    assert (text.type, text.categories, text.nullable) == (FeatureType.STRING, ("a", "b"), True)
    assert text.description == "The text"


def test_undescribed_or_unfit_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="described are"):
        describe.features(frame()[["whole", "flag"]], {"flag": About("one too few")})
    with pytest.raises(ValueError, match="column 'text' is object; a feature is"):
        describe.features(frame()[["text"]], {"text": About("not categorized")})


def test_encoding_is_the_place_in_the_categories_and_unknown_is_missing() -> None:
    train, later = describe.categorize(frame(), frame().assign(text=["c", "b", "a", None]))
    expected = [[1, 0.5, 1, np.nan], [2, np.nan, 0, 1], [3, 2.5, 1, 0], [4, 3.5, 1, np.nan]]
    np.testing.assert_array_equal(describe.encode(later), np.array(expected, np.float32))
    np.testing.assert_array_equal(describe.encode(train)[:, 3], [1, 0, np.nan, 1])


def test_given_order_of_categories_is_kept() -> None:
    grades = pd.DataFrame({"cut": pd.Categorical(["Ideal", "Fair"], ["Fair", "Good", "Ideal"])})
    (kept,) = describe.categorize(grades)
    assert describe.features(kept, {"cut": About("Grade")})[0].categories == ("Fair", "Good", "Ideal")
    assert describe.encode(kept)[:, 0].tolist() == [2, 0]


def test_digest_depends_on_content_and_not_on_how_it_is_stored() -> None:
    first = describe.digest(frame())
    stored_otherwise = frame().astype({"whole": "int8", "text": "category"})
    stored_otherwise.index = [9, 8, 7, 6]
    assert describe.digest(stored_otherwise) == first


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
    assert describe.digest(changed) != describe.digest(frame())
