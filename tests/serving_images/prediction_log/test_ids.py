"""Ids tell their time and are never given twice."""

import os
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.prediction_id import PredictionIds, is_prediction_id, time_of


def test_ids_are_uuids_of_version_7_with_their_time() -> None:
    before = time.time() - 0.001
    given_id = PredictionIds().next()
    after = time.time()
    assert uuid.UUID(given_id).version == 7
    assert uuid.UUID(given_id).variant == uuid.RFC_4122
    assert before <= time_of(given_id).timestamp() <= after


@given(st.lists(st.integers(0, 50), max_size=30))
def test_ids_are_distinct_and_ascending_within_their_millisecond(sizes: list[int]) -> None:
    ids = PredictionIds()
    found = []
    for size in sizes:
        taken = ids.take(size)
        assert len(taken) == size
        found += [*taken, ids.next()]
    assert len(set(found)) == len(found)
    assert all(is_prediction_id(one) for one in found)
    assert found == sorted(found)


def test_processes_give_different_ids() -> None:
    ids = PredictionIds()
    ids.next()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, " ".join(ids.take(20)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    theirs = os.read(reading, 4096).decode().split()
    os.close(reading)
    assert len(theirs) == 20
    assert not set(theirs) & set(ids.take(40))


# Constants: the workers of a parallel run must see the same names.
OTHER = ("", "abc", "3f2b8a1e-0c5d-4e6f-8a7b-9c0d1e2f3a4b", "01A20785-78BC-7284-9A6F-42672FF655F5", "0" * 36)


@pytest.mark.parametrize("text", OTHER)
def test_other_text_is_no_id(text: str) -> None:
    with pytest.raises(ValueError, match="no id of a prediction"):
        time_of(text)
