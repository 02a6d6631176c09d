"""The rules, one file per family; importing this package registers all of them."""

from plan_review.rules import (
    ci_identity,
    cost,
    data_loss,
    exposure,
    governance,
    monitoring,
    privilege,
    promotion,
    reliability,
    supply_chain,
)
from plan_review.rules.registry import RULES, Finding, Hit, PlanHit, Rule, Severity, evaluate

FAMILIES = (
    data_loss,
    exposure,
    privilege,
    governance,
    monitoring,
    reliability,
    cost,
    supply_chain,
    ci_identity,
    promotion,
)

__all__ = ["FAMILIES", "RULES", "Finding", "Hit", "PlanHit", "Rule", "Severity", "evaluate"]
