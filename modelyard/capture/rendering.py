"""JSON for people and for diffs."""

import json
from typing import Any


def render(value: Any, indent: str = "") -> str:
    """Return `value` as JSON in which all that fits on a line is on a line, for people and for diffs."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(flat) <= 110 or not isinstance(value, dict | list):
        return flat if indent else flat + "\n"
    inner = indent + "  "
    if isinstance(value, dict):
        brackets = "{}"
        parts = [f"{json.dumps(key)}: {render(item, inner)}" for key, item in value.items()]
    else:
        brackets = "[]"
        parts = [render(item, inner) for item in value]
    lines = [parts[0]]
    items = value.values() if isinstance(value, dict) else value
    packed = not any(isinstance(item, dict | list) for item in items) and len(parts) > 12
    for part in parts[1:]:
        if packed and len(inner) + len(lines[-1]) + len(part) < 110:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    body = f",\n{inner}".join(lines)
    return f"{brackets[0]}\n{inner}{body}\n{indent}{brackets[1]}" + ("" if indent else "\n")
