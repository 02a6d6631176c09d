"""Secrets do not get past the boundary, whatever marks them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plan_review.changes import stack_plan
from plan_review.masking import Masked, clean, is_secret_name, is_secret_value, scrub
from plan_review.render import FORMATS
from plan_review.review import Sources, review
from tests.plan_review import plans

SECRET = "correct-horse-battery-staple"


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "db_password",
        "apiKey",
        "API_KEY",
        "client_secret",
        "SESSION_TOKEN",
        "private_key",
        "credentials",
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "secret_name",
        "secret_id",
        "kms_key_name",
        "token_uri",
        "rotation_period",
        "public_key",
        "name",
        "key",
        "tokenized",
    ],
)
def test_names_of_what_is_no_secret(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "value",
    [
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE",
        "postgres://user:hunter2@host/db",
        "ghp_" + "a" * 36,
        "AKIA" + "A" * 16,
        "ya29." + "a" * 30,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
        "host=db password=hunter2hunter2",
    ],
)
def test_forms_of_secrets(value: str) -> None:
    assert is_secret_value(value)
    assert "(sensitive)" in scrub(value)


def test_masked_values_compare_and_tell_nothing() -> None:
    assert Masked("a") == Masked("a")
    assert Masked("a") != Masked("b")
    assert "a" not in repr(Masked("a")).replace("sensitive", "")


PLACES: dict[str, tuple[dict[str, Any], Any]] = {
    "marked by Terraform": ({"plain": SECRET}, {"plain": True}),
    "marked as a whole": ({"plain": SECRET, "other": SECRET}, True),
    "marked inside a list": ({"list": [{"plain": SECRET}]}, {"list": [{"plain": True}]}),
    "by its name": ({"block": [{"admin_password": SECRET}]}, {}),
    "by the name beside it": ({"env": [{"name": "DB_PASSWORD", "value": SECRET}]}, {}),
    "inside JSON": ({"config": json.dumps({"auth": {"api_key": SECRET}})}, {}),
    "in a Kubernetes secret": ({"manifest": {"kind": "Secret", "stringData": {"a": SECRET}}}, {}),
    "in a map of passwords": ({"passwords": {"alice": SECRET}}, {}),
    "in an address": ({"url": f"https://user:{SECRET}@host/path"}, {}),
}


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("form", FORMATS)
def test_no_report_shows_a_secret(where: str, form: str) -> None:
    values, marks = PLACES[where]
    changed = json.loads(json.dumps(values).replace(SECRET, f"{SECRET}-2"))
    plan = plans.plan(
        plans.change("google_thing.a", values, changed, before_sensitive=marks, after_sensitive=marks),
        plans.change("google_thing.b", None, values, after_sensitive=marks),
        plans.change("google_thing.c", values, None, before_sensitive=marks),
        output_changes={
            "leak": {
                "actions": ["create"],
                "before": None,
                "after": SECRET,
                "after_unknown": False,
                "before_sensitive": False,
                "after_sensitive": True,
            }
        },
        resource_drift=[
            plans.change("google_thing.a", values, changed, before_sensitive=marks, after_sensitive=marks)
        ],
    )
    report = review([plan], Sources())
    assert report.diffs, "the changed secret is seen to have changed"
    assert SECRET not in FORMATS[form](report)
    assert SECRET not in repr(report)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=20,
    )
)
def test_what_is_marked_as_a_whole_is_masked_as_a_whole(value: Any) -> None:
    cleaned = clean(value, False, True)
    assert cleaned is None if value is None else isinstance(cleaned, Masked)


def test_equal_secrets_are_no_difference() -> None:
    values = {"password": SECRET, "size": 1}
    stack = stack_plan(plans.plan(plans.change("google_thing.a", values, {**values, "size": 2})))
    assert stack.changes[0].before["password"] == stack.changes[0].after["password"]
