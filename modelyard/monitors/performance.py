"""Statistical performance: the manifest's primary metric, measured on labels."""

from modelyard.monitors.alert import Family, Runbook
from modelyard.monitors.monitor import Monitor, Subject
from modelyard.monitors.rule import Rule, Stage
from modelyard.monitors.values import LOSS


def _loss(subject: Subject) -> str:
    return (
        f"max by (team, model, version) ({LOSS.last(subject.window(Family.PERFORMANCE), **subject.labels)})"
    )


MONITORS = (
    Monitor(
        key="performance-loss",
        family=Family.PERFORMANCE,
        title="Loss of the primary metric against its test value",
        says="The primary metric over {window} is worse than on the test set by more than {threshold} of it.",
        unit="10^2.%",
        series=_loss,
        threshold=lambda subject: subject.settings.performance.threshold,
        value=LOSS,
        rule=Rule(Stage.PERFORMANCE, learns=True),
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
)
