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
    document: dict[str, Any] = stack.to_terraform()
    return {
        type_: {r.pop("//")["metadata"]["path"].split("/", 1)[1]: r for r in made.values()}
        for type_, made in document.get("resource", {}).items()
    }
