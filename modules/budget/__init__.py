"""A monthly budget for one project."""

from cdktf_cdktf_provider_google.billing_budget import (
    BillingBudget,
    BillingBudgetAllUpdatesRule,
    BillingBudgetAmount,
    BillingBudgetAmountSpecifiedAmount,
    BillingBudgetBudgetFilter,
    BillingBudgetThresholdRules,
)
from constructs import Construct

from modelyard.naming import fit

DISPLAY_NAME = 60


class ProjectBudget(Construct):
    """Tells a channel at half, nine tenths and all of the amount, and when the forecast exceeds it.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modules.budget import ProjectBudget

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-a")
        ProjectBudget(stack, "budget", name="team a", billing_account="000000-AAAAAA-000000",
                      project_number="1", amount=500, currency="EUR",
                      channel="projects/example-a/notificationChannels/1")
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        name: display name; beyond the 60 characters that the API takes it is cut.
        billing_account: billing account that pays for the project.
        project_number: number of the project.
        amount: monthly amount in `currency`, rounded to whole units, at least one.
        currency: the billing account's currency, ISO 4217.
        channel: notification channel to tell.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        billing_account: str,
        project_number: str,
        amount: float,
        currency: str,
        channel: str,
    ) -> None:
        super().__init__(scope, construct_id)
        BillingBudget(
            self,
            "budget",
            billing_account=billing_account,
            display_name=fit(name, DISPLAY_NAME),
            budget_filter=BillingBudgetBudgetFilter(
                projects=[f"projects/{project_number}"], calendar_period="MONTH"
            ),
            amount=BillingBudgetAmount(
                specified_amount=BillingBudgetAmountSpecifiedAmount(
                    currency_code=currency, units=str(max(1, round(amount)))
                )
            ),
            threshold_rules=[
                BillingBudgetThresholdRules(threshold_percent=0.5),
                BillingBudgetThresholdRules(threshold_percent=0.9),
                BillingBudgetThresholdRules(threshold_percent=1.0),
                BillingBudgetThresholdRules(threshold_percent=1.0, spend_basis="FORECASTED_SPEND"),
            ],
            all_updates_rule=BillingBudgetAllUpdatesRule(monitoring_notification_channels=[channel]),
        )
