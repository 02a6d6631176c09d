"""What another version of a model brings that somebody must know."""

from collections.abc import Callable, Iterator

from plan_review.context import Context
from plan_review.promotion import Promotion
from plan_review.rules.registry import PlanHit, Severity, plan_rule
from plan_review.words import listing, number


def _hits(context: Context, message: Callable[[Promotion], str]) -> Iterator[PlanHit]:
    for promotion in context.promotions:
        text = message(promotion)
        if text:
            canary = ".canary" if promotion.role == "canary" else ""
            source = f"teams/{promotion.team}/{promotion.model}{canary}.json"
            yield PlanHit(
                f"{promotion.team}/{promotion.model}: {text}",
                team=promotion.team,
                model=promotion.model,
                source=source if context.compares_checkouts else "",
            )


@plan_rule(
    "promotion/version",
    Severity.INFO,
    title="Another version of a model is served",
    rationale="A promotion is the most usual change; it should read as one.",
    fix="Nothing, if it is meant.",
)
def version(context: Context) -> Iterator[PlanHit]:
    """Name every promotion."""

    def message(promotion: Promotion) -> str:
        return promotion.title.removeprefix(f"{promotion.team}/{promotion.model}").strip(" :")

    yield from _hits(context, message)


@plan_rule(
    "promotion/metric-worse",
    Severity.APPROVE,
    title="The test metric of the new version is worse",
    rationale="A version that tests worse should have another reason to be served.",
    fix="Say the reason in the pull request, or keep the version.",
)
def metric_worse(context: Context) -> Iterator[PlanHit]:
    """Find promotions whose primary metric falls."""

    def message(promotion: Promotion) -> str:
        if not promotion.metric_worse or promotion.metric_before is None or promotion.metric_after is None:
            return ""
        values = f"{number(round(promotion.metric_before, 6))} -> {number(round(promotion.metric_after, 6))}"
        return f"test {promotion.metric} {values} is worse"

    yield from _hits(context, message)


@plan_rule(
    "promotion/dirty-code",
    Severity.APPROVE,
    title="A version was trained from uncommitted code",
    rationale="Nobody can read, review or repeat what made it.",
    fix="Commit, train again and publish.",
)
def dirty_code(context: Context) -> Iterator[PlanHit]:
    """Find promotions of versions whose code had uncommitted changes."""
    yield from _hits(context, lambda p: "trained from uncommitted code" if p.dirty else "")


@plan_rule(
    "promotion/code-moved",
    Severity.APPROVE,
    title="A version was trained by code of another repository",
    rationale="Who may change that repository decides what is served.",
    fix="Say in the pull request whose repository it is.",
)
def code_moved(context: Context) -> Iterator[PlanHit]:
    """Find promotions whose code comes from elsewhere than before."""
    yield from _hits(context, lambda p: f"trained by code of {p.repository}" if p.repository_changed else "")


@plan_rule(
    "promotion/feature-retyped",
    Severity.BLOCK,
    title="A feature changes its type",
    rationale="Callers send the old type, and the prediction log's column cannot change.",
    fix="Give the feature another name.",
)
def feature_retyped(context: Context) -> Iterator[PlanHit]:
    """Find features, and predictions, of another type."""

    def message(promotion: Promotion) -> str:
        changed = [f"{name} {old} -> {new}" for name, (old, new) in promotion.retyped.items()]
        if promotion.prediction_retyped:
            changed.append("prediction {} -> {}".format(*promotion.prediction_retyped))
        return f"retyped: {listing(changed)}" if changed else ""

    yield from _hits(context, message)


@plan_rule(
    "promotion/features-changed",
    Severity.WARN,
    title="Callers must send other features",
    rationale="Who calls the model must send what the new version takes, from the apply on.",
    fix="Tell the callers; a new feature that may be left out breaks nobody.",
)
def features_changed(context: Context) -> Iterator[PlanHit]:
    """Find features that come or go."""

    def message(promotion: Promotion) -> str:
        parts = []
        if promotion.added:
            parts.append(f"features added: {listing(promotion.added)}")
        if promotion.removed:
            parts.append(f"features removed: {listing(promotion.removed)}")
        return "; ".join(parts)

    yield from _hits(context, message)


@plan_rule(
    "promotion/restricted-feature-added",
    Severity.APPROVE,
    title="A version takes personal or confidential data that the last one did not",
    rationale="The data is sent, logged and kept from the apply on.",
    fix="Let whoever is responsible for data protection approve.",
)
def restricted_feature_added(context: Context) -> Iterator[PlanHit]:
    """Find new features that are confidential or pii."""

    def message(promotion: Promotion) -> str:
        found = [f"{name} ({level})" for name, level in promotion.added.items() if level.restricted]
        return f"features added: {listing(found)}" if found else ""

    yield from _hits(context, message)


@plan_rule(
    "promotion/vulnerable-dependency",
    Severity.APPROVE,
    title="A version was trained with a package that has a known weakness",
    rationale="The same package often reads the artefact where it is served.",
    fix="Train again with the fixed package.",
)
def vulnerable_dependency(context: Context) -> Iterator[PlanHit]:
    """Find packages that came or changed and that the advisory file names."""

    def message(promotion: Promotion) -> str:
        found = [
            f"{v.package} {v.version} ({v.id}, fixed in {v.fixed_in or 'none'})"
            for v in promotion.vulnerabilities
        ]
        return f"known weaknesses: {listing(found)}" if found else ""

    yield from _hits(context, message)


@plan_rule(
    "promotion/rolled-back",
    Severity.INFO,
    title="An older version is served again",
    rationale="A roll-back is quick help; the next promotion should bring what it lost.",
    fix="Nothing, if it is meant.",
)
def rolled_back(context: Context) -> Iterator[PlanHit]:
    """Find versions that go back."""

    def message(promotion: Promotion) -> str:
        older = (
            promotion.before is not None
            and promotion.after is not None
            and promotion.after < promotion.before
        )
        return f"version {promotion.before} -> {promotion.after} goes back" if older else ""

    yield from _hits(context, message)
