"""Statistical performance: the manifest's primary metric, measured on labels."""

from modelyard.monitors.alert import Family, Runbook
from modelyard.monitors.monitor import Monitor, Subject
from modelyard.monitors.rule import Rule, Stage
from modelyard.monitors.values import ESTIMATED_LOSS, LABEL_COVERAGE, LOSS, UNEXPECTED_LOSS, Value
from modelyard.spec.base import Severity

# Share of the predictions.
COVERED = 0.5


def _coverage(subject: Subject) -> str:
    # The job knows how many labels are usual; of versions together, since labels do not name any.
    last = LABEL_COVERAGE.last(subject.window(Family.PERFORMANCE), team=subject.team, model=subject.model)
    return f"min by (team, model) ({last})"


def _last(subject: Subject, value: Value) -> str:
    last = value.last(subject.window(Family.PERFORMANCE), **subject.labels)
    return f"max by (team, model, version) ({last})"


MONITORS = (
    Monitor(
        key="performance-loss",
        family=Family.PERFORMANCE,
        title="Loss of the primary metric against its test value",
        says="The primary metric over {window} is worse than on the test set by more than {threshold} of it.",
        unit="10^2.%",
        series=lambda subject: _last(subject, LOSS),
        threshold=lambda subject: subject.settings.performance.threshold,
        value=LOSS,
        rule=Rule(Stage.PERFORMANCE, far=4.0, learns=True),
        runbook=Runbook(
            meaning="The predictions are worse than promised. Decisions that rest on them are worse, too.",
            causes=(
                "Broken inputs: quality-invalid is open on this model.",
                "The world changed: features drifted, or what the label means for the same features.",
                "A version was deployed that generalises worse than its test result said.",
                "The labels are wrong or late: a join that lost rows, a feed that is incomplete.",
            ),
            steps=(
                "Compare the versions on the dashboard: if only the new one lost, pin the version before it "
                "and deploy.",
                "See whether the labels are complete: the share of predictions with a label is on the "
                "dashboard.",
                "See whether quality-invalid or drift-features is open on this model: its feature is the "
                "likely root. Else train on newer data.",
            ),
        ),
    ),
    Monitor(
        key="performance-estimate",
        family=Family.PERFORMANCE,
        title="Estimated loss of the primary metric",
        says="Estimated from the inputs over {window}, before labels arrive, the primary metric is worse "
        "than on the test set by more than {threshold} of it.",
        unit="10^2.%",
        series=lambda subject: _last(subject, ESTIMATED_LOSS),
        threshold=lambda subject: subject.settings.performance.threshold,
        value=ESTIMATED_LOSS,
        rule=Rule(Stage.PERFORMANCE, far=4.0, learns=True),
        own_severity=Severity.ERROR,
        runbook=Runbook(
            meaning="The requests are of a kind for which the model was less exact on held-out rows. This "
            "is an estimate: it knows nothing of a changed relation between inputs and truth.",
            causes=(
                "Harder cases than usual: bad weather, a new region, rare customers.",
                "Inputs that are broken or have drifted into corners that training hardly knew.",
                "A caller sends another mix of requests.",
            ),
            steps=(
                "See whether quality-invalid or drift-features is open on this model: follow that one first.",
                "See when labels of these hours will be there, and whether performance-loss follows: the "
                "estimate is only as good as the test set.",
                "Tell those who use the predictions that they are less certain than usual.",
            ),
        ),
    ),
    Monitor(
        key="performance-unexpected",
        family=Family.PERFORMANCE,
        title="Loss of the primary metric that the inputs do not explain",
        says="The primary metric over {window} is worse than the inputs led to expect, by more than "
        "{threshold} of its test value.",
        unit="10^2.%",
        series=lambda subject: _last(subject, UNEXPECTED_LOSS),
        threshold=lambda subject: subject.settings.performance.threshold,
        value=UNEXPECTED_LOSS,
        rule=Rule(Stage.PERFORMANCE, far=4.0, learns=True, centred=True),
        runbook=Runbook(
            meaning="For the same inputs the truth is another than it was in training: the model has learned "
            "something that no longer holds. It may still look better than on the test set, if cases are "
            "easy.",
            causes=(
                "The world changed in a way that no feature shows: a rule, a price list, a route.",
                "Labels changed their meaning, their unit or their join.",
                "A version was deployed that generalises worse than its test result said.",
            ),
            steps=(
                "See which segment is worst: the alert names it, and `segment_loss` in `metric_values` has "
                "all.",
                "Look at a few of its rows with their labels: is the label right, and computed as in "
                "training?",
                "If the labels are right, train on newer data; until then tell those who use the "
                "predictions.",
            ),
        ),
    ),
    Monitor(
        key="performance-labels",
        family=Family.PERFORMANCE,
        title="Share of predictions with a label",
        says="Labels have arrived for fewer than {threshold} of the predictions over {window}, once their "
        "delay had passed, and for far fewer than usual.",
        unit="10^2.%",
        series=_coverage,
        threshold=lambda subject: COVERED,
        above=False,
        value=LABEL_COVERAGE,
        rule=Rule(Stage.LABELS),
        own_severity=Severity.WARNING,
        runbook=Runbook(
            meaning="Whether the predictions are right can hardly be measured now. They may be as good as "
            "before.",
            causes=(
                "The feed of labels is late or broken.",
                "Labels carry another key than the predictions' ids.",
                "The truth takes longer than `label.delay` says.",
            ),
            steps=(
                "See when the newest label came: the label table's newest rows, and the job that fills it.",
                "Compare a few of its keys with `prediction_id` in the prediction log.",
                "If labels now take longer for good, raise `label.delay` in the team file. Until they are "
                "back, watch performance-estimate and the drift of predictions.",
            ),
        ),
    ),
)
