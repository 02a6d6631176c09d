"""What every part of the specification shares: strictness, names, severities, sensitivities."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo
from pydantic_core import PydanticCustomError


def text(pattern: str, words: str, *, min_length: int | None = None, max_length: int | None = None) -> Any:
    """Return the field of a text that matches `pattern`; `words` completes the sentence "this is not ..."."""
    return Field(
        pattern=pattern,
        min_length=min_length,
        max_length=max_length,
        # Editors and our messages show this: nobody should have to read a regular expression.
        json_schema_extra={"patternErrorMessage": f"Expected {words}."},
    )


class Finding(NamedTuple):
    """Something wrong between several fields: where, seen from the object that holds them, and what."""

    path: tuple[str | int, ...]
    message: str


def refuse(findings: Iterable[Finding]) -> None:
    """Raise all `findings` as one validation error, if there are any."""
    found = list(findings)
    if found:
        text = "; ".join(finding.message for finding in found)
        raise PydanticCustomError("findings", "{text}", {"text": text, "findings": found})


def twice(names: Iterable[tuple[tuple[str | int, ...], str]]) -> Iterator[Finding]:
    """Yield a finding for each of (path, name) whose name an earlier one has."""
    seen: Counter[str] = Counter()
    for path, name in names:
        if seen[name]:
            yield Finding(path, f"'{name}' is here twice")
        seen[name] += 1


def is_partial(info: ValidationInfo) -> bool:
    """Return whether settings are validated that others will still be merged with.

    Rules between fields wait until then: a team may set `min` and leave `max` to a model.
    """
    return bool(info.context and info.context.get("partial"))


class Spec(BaseModel):
    """A frozen part of the specification; unknown keys are errors."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        ser_json_inf_nan="strings",
    )


class Sensitivity(StrEnum):
    """How protected a feature is; each level maps to a policy tag in the catalog."""

    PUBLIC = "public"
    INTERNAL = "internal"
    CONFIDENTIAL = "confidential"
    PII = "pii"

    @property
    def restricted(self) -> bool:
        """Whether readers of the prediction log need an explicit grant to see the value."""
        return self in (Sensitivity.CONFIDENTIAL, Sensitivity.PII)


class Severity(StrEnum):
    """Cloud Monitoring's severities: critical pages a person, error and warning make tickets."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"


class Pattern(StrEnum):
    """How a model is served."""

    REST = "rest"
    BATCH = "batch"
    STREAMING = "streaming"


def seconds(duration: str) -> int:
    """Return the length of a `Duration` such as `15m` in seconds."""
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[duration[-1]]


def within(least: str, most: str) -> AfterValidator:
    """Return the check that a `Duration` is between two others, both included."""

    def check(value: str) -> str:
        if not seconds(least) <= seconds(value) <= seconds(most):
            raise ValueError(f"'{value}' is out of range; expected a time from {least} to {most}")
        return value

    return AfterValidator(check)


def checked(check: Callable[[str], str | None]) -> AfterValidator:
    """Return a validator of `check`, which returns what is wrong with a text, or None."""

    def validate(value: str) -> str:
        if wrong := check(value):
            raise ValueError(wrong)
        return value

    return AfterValidator(validate)


# A lower-case DNS label: legal in Kubernetes, and in BigQuery once hyphens become underscores.
# The lengths leave room for the prefixes and suffixes that modelyard.naming adds.
NAME_PATTERN = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
NAME_WORDS = "a name of lower-case letters, digits and single hyphens that begins with a letter, such as "
TeamName = Annotated[str, text(NAME_PATTERN, NAME_WORDS + "flight-ops", min_length=2, max_length=40)]
ModelName = Annotated[str, text(NAME_PATTERN, NAME_WORDS + "arrival-delay", min_length=2, max_length=40)]
Version = Annotated[int, Field(ge=1, le=1_000_000)]
EMAIL_PATTERN = r"^[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}$"
Email = Annotated[
    str, text(EMAIL_PATTERN, "an e-mail address such as flight-ops@example.com", max_length=254)
]
Digest = Annotated[str, text(r"^sha256:[0-9a-f]{64}$", "a digest: sha256: and 64 digits 0-9a-f")]
Duration = Annotated[
    str, text(r"^[1-9][0-9]{0,4}(s|m|h|d)$", "a time: a whole number and s, m, h or d, such as 15m")
]
Currency = Annotated[str, text(r"^[A-Z]{3}$", "a currency code of three capitals, such as EUR")]
# The value of a label on Google Cloud and in Kubernetes alike.
CostCenter = Annotated[
    str,
    text(
        r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$",
        'text of up to 63 lower-case letters, digits, hyphens and underscores, such as "4711"',
    ),
]
