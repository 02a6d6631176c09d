"""One module alone, synthesized in this process."""

from collections.abc import Callable
from typing import Any

from modules import bindings

bindings.install()

from cdktf import App, TerraformStack  # noqa: E402 - the bindings must be in place before

Resources = dict[str, dict[str, dict[str, Any]]]


def synthesized(add: Callable[[TerraformStack], object]) -> Resources:
    """Return the resources that `add` makes in an empty stack: type -> path in the stack -> settings."""
    stack = TerraformStack(App(), "test")
    add(stack)
    stack.prepare_stack()
    return by_type(stack.to_terraform())


def by_type(document: dict[str, Any]) -> Resources:
    """Return the resources of a stack's Terraform JSON: type -> path in the stack -> settings."""
    return {
        type_: {
            made["//"]["metadata"]["path"].split("/", 1)[1]: {k: v for k, v in made.items() if k != "//"}
            for made in resources.values()
        }
        for type_, resources in document.get("resource", {}).items()
    }
