"""Plan files by hand, in the form of `terraform show -json`."""

import json
from pathlib import Path
from typing import Any

from plan_review.plan import PlanFile, decode

LABELS = {
    "environment": "dev",
    "team": "pricing",
    "model": "vehicle-price",
    "cost_center": "4720",
    "managed_by": "modelyard",
}


def change(
    address: str,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    actions: list[str] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return an entry of `resource_changes`; its actions follow from what is there before and after."""
    if actions is None:
        if before is None:
            actions = ["create"]
        elif after is None:
            actions = ["delete"]
        else:
            actions = ["no-op"] if before == after else ["update"]
    body = {
        "actions": actions,
        "before": before,
        "after": after,
        "after_unknown": more.pop("unknown", {}),
        "before_sensitive": more.pop("before_sensitive", {}),
        "after_sensitive": more.pop("after_sensitive", {}),
    }
    for name in ("replace_paths", "importing"):
        if name in more:
            body[name] = more.pop(name)
    type_, _, name = address.partition(".")
    return {
        "address": address,
        "mode": "managed",
        "type": type_,
        "name": name,
        "provider_name": f"registry.terraform.io/hashicorp/{type_.partition('_')[0]}",
        "change": body,
        **more,
    }


def document(*changes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a plan as Terraform shows it."""
    return {
        "format_version": "1.2",
        "terraform_version": "1.11.4",
        "planned_values": {},
        "prior_state": {},
        "resource_changes": list(changes),
        **more,
    }


def plan(*changes: dict[str, Any], stack: str = "dev-team-pricing", **more: Any) -> PlanFile:
    """Return a plan that was read."""
    return PlanFile(stack, decode(json.dumps(document(*changes, **more)).encode(), "plan.json"), "plan.json")


def write(path: Path, *changes: dict[str, Any], **more: Any) -> Path:
    """Write a plan file."""
    path.write_text(json.dumps(document(*changes, **more)), encoding="utf-8")
    return path
