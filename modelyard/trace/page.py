"""A trace as one page: the same sections for the terminal and for HTML."""

import html
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelyard.spec.manifest import Manifest
from modelyard.trace.record import Check, Deployment, Prediction, Status, Trace, Value

if TYPE_CHECKING:
    from rich.console import RenderableType

_SIGNS = {Status.VERIFIED: "✓", Status.DIFFERS: "✗", Status.UNREACHABLE: "?"}
_COLOURS = {Status.VERIFIED: "green", Status.DIFFERS: "bold red", Status.UNREACHABLE: "yellow"}
_WORSE = [Status.VERIFIED, Status.UNREACHABLE, Status.DIFFERS]
# Packages that are shown; all of them stand in the bill of materials and in the JSON form.
_PACKAGES = 8


@dataclass(frozen=True)
class Line:
    """One fact. `check` is what came of computing it again."""

    label: str
    text: str
    check: Check | None = None


@dataclass(frozen=True)
class Section:
    """One link of the chain; no lines: it is missing."""

    title: str
    lines: tuple[Line, ...]


def sections(trace: Trace) -> list[Section]:
    """Return the chain from the prediction to who approved it."""
    checks = {check.what: check for check in trace.checks}
    found = [Section("Prediction", tuple(_prediction(trace.prediction)))]
    if trace.version:
        manifest = trace.version.manifest
        found += [
            Section("Model version", tuple(_version(manifest, checks))),
            Section("Artefact", tuple(_artifact(manifest, checks))),
            Section("Training data", tuple(_data(manifest))),
            Section("Training code", tuple(_code(manifest))),
            Section("Dependencies", tuple(_dependencies(manifest, checks))),
        ]
    else:
        found.append(Section("Model version", ()))
    found.append(Section("Image", tuple(_image(trace.prediction, checks))))
    found.append(Section("Deployment", tuple(_deployment(trace.deployment, checks))))
    return found


def _prediction(prediction: Prediction) -> Iterator[Line]:
    unit = f" {prediction.unit}" if prediction.unit else ""
    yield Line("id", prediction.prediction_id)
    yield Line("answer", f"{_shown(prediction.prediction)}{unit}")
    yield Line("when", f"{prediction.time:%Y-%m-%d %H:%M:%S.%f} UTC")
    yield Line(
        "by", f"{prediction.team}/{prediction.model}@{prediction.version}, {prediction.pattern}, "
        f"environment {prediction.environment}"
    )  # fmt: skip
    yield Line("caller", _value(prediction.caller))
    for feature in prediction.features:
        yield Line(f"  {feature.name}", _value(feature))
    if prediction.flags:
        yield Line("flags", ", ".join(prediction.flags))
    if prediction.latency_ms is not None:
        yield Line("latency", f"{prediction.latency_ms:.2f} ms")
    if prediction.trace_id:
        yield Line("request trace", prediction.trace_id)
    yield Line("log", prediction.table)


def _version(manifest: Manifest, checks: dict[str, Check]) -> Iterator[Line]:
    if manifest.description:
        yield Line("what for", manifest.description)
    yield Line("published", f"{manifest.created:%Y-%m-%d %H:%M:%S %Z}")
    metrics = manifest.metrics
    yield Line(
        "tested", f"{metrics.primary} {metrics.values[metrics.primary]:g} on {metrics.rows:,} held-out rows"
    )
    yield Line("manifest", manifest.digest, checks.get("manifest"))


def _artifact(manifest: Manifest, checks: dict[str, Check]) -> Iterator[Line]:
    for what, artifact in (("artefact", manifest.artifact), ("online artefact", manifest.online)):
        if artifact:
            size = f"{artifact.format}, {artifact.size_bytes:,} bytes"
            yield Line("file" if what == "artefact" else "online file", f"{artifact.uri} ({size})")
            yield Line("digest", artifact.digest, checks.get(what))
    if manifest.signing:
        yield Line("signature", manifest.signing.bundle.uri, checks.get("signature"))
    else:
        yield Line("signature", "none")


def _data(manifest: Manifest) -> Iterator[Line]:
    data = manifest.data
    yield Line("from", data.uri)
    if data.description:
        yield Line("what", data.description)
    yield Line("rows", f"{data.rows:,}")
    if data.snapshot:
        yield Line("as of", f"{data.snapshot:%Y-%m-%d %H:%M:%S %Z}")
    for item in data.objects:
        yield Line("object", f"{item.uri} at {item.version or 'no version'}")
    yield Line("digest", data.digest)


def _code(manifest: Manifest) -> Iterator[Line]:
    code = manifest.code
    yield Line("repository", code.repository)
    yield Line("commit", code.commit)
    yield Line("run", code.entry_point)
    if code.dirty:
        yield Line("uncommitted", code.diff_digest or "yes")


def _dependencies(manifest: Manifest, checks: dict[str, Check]) -> Iterator[Line]:
    packages = [f"{name} {version}" for name, version in manifest.dependencies.packages.items()]
    more = f" and {len(packages) - _PACKAGES} more" if len(packages) > _PACKAGES else ""
    yield Line("Python", manifest.dependencies.python)
    yield Line("packages", (", ".join(packages[:_PACKAGES]) + more) or "none recorded")
    if manifest.bom:
        yield Line("bill of materials", manifest.bom.uri, checks.get("bill of materials"))
    if manifest.environment:
        machine = manifest.environment
        yield Line("machine", f"{machine.system}, {machine.machine}, {machine.processors} processors")


def _image(prediction: Prediction, checks: dict[str, Check]) -> Iterator[Line]:
    if prediction.image_digest:
        yield Line("digest", prediction.image_digest, checks.get("image"))
    if prediction.code_digest:
        yield Line("manifest served", prediction.code_digest, checks.get("manifest served"))


def _deployment(deployment: Deployment | None, checks: dict[str, Check]) -> Iterator[Line]:
    if deployment is None:
        return
    share = f", {deployment.percent} % of the traffic" if deployment.percent < 100 else ""
    yield Line("when", f"{deployment.time:%Y-%m-%d %H:%M:%S} UTC, to {deployment.environment}{share}")
    yield Line("deployed by", deployment.actor)
    yield Line("approved by", ", ".join(deployment.approved_by) or "nobody is recorded")
    yield Line("from", f"{deployment.repository} at {deployment.commit}")
    yield Line("plan", deployment.plan_digest)
    yield Line("manifest", deployment.manifest_digest, checks.get("manifest deployed"))
    yield Line("record", f"{deployment.deployment_id} in {deployment.table}")


def _value(value: Value) -> str:
    if value.masked:
        return f"not shown, {value.sensitivity or 'sensitivity unknown'}"
    unit = f" {value.unit}" if value.unit and value.value is not None else ""
    return f"{_shown(value.value)}{unit}"


def _shown(value: Any) -> str:
    if value is None:
        return "missing"
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def terminal(trace: Trace) -> "RenderableType":
    """Return the page for a terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for section in sections(trace):
        title = section.title
        if not section.lines:
            grid.add_row(title, "", "", Text("not recorded", "yellow"))
        for line in section.lines:
            sign, text = Text(), Text(line.text)
            if line.check:
                status = line.check.status
                sign = Text(_SIGNS[status], _COLOURS[status])
                if status is not Status.VERIFIED:
                    text.append(f"\n{status}: {line.check.detail}", _COLOURS[status])
            grid.add_row(title, line.label, sign, text)
            title = ""
    notes = [Text(f"! {gap[0].upper()}{gap[1:]}.", "yellow") for gap in trace.gaps]
    return Group(grid, *notes, Text(_summary(trace)))


def _summary(trace: Trace) -> str:
    """Return how many digests and signatures came out as recorded."""
    if not trace.checks:
        return f"{_SIGNS[Status.UNREACHABLE]} there is no digest and no signature to verify"
    verified = sum(check.status is Status.VERIFIED for check in trace.checks)
    worst = max((check.status for check in trace.checks), key=_WORSE.index)
    return f"{_SIGNS[worst]} {verified} of {len(trace.checks)} digests and signatures verified"


_CSS = """
:root { color-scheme: light dark; --line: #8884; --good: #0a7d33; --bad: #c62828; --weak: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --good: #4cc38a; --bad: #ff8080; --weak: #e3b341; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; } code { overflow-wrap: anywhere; font-size: .9em; }
section { border-left: 2px solid var(--line); padding: 0 0 1rem 1.2rem; margin-left: .4rem;
  position: relative; }
section::before { content: ""; position: absolute; left: -.45rem; top: .35rem; width: .75rem; height: .75rem;
  border-radius: 50%; background: var(--line); }
h2 { font-size: 1rem; margin: 0 0 .3rem; } table { border-collapse: collapse; }
th { text-align: left; font-weight: normal; opacity: .7; padding: 0 1rem 0 0; white-space: nowrap; }
th, td { vertical-align: top; }
.verified { color: var(--good); } .differs { color: var(--bad); font-weight: bold; }
.unreachable, .gap { color: var(--weak); }
"""


def page(trace: Trace) -> str:
    """Return the page as one HTML file that needs no other."""
    prediction = trace.prediction
    title = f"Prediction {prediction.prediction_id}"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(title)}</title><style>{_CSS}</style></head><body>",
        f"<h1>{html.escape(title)}</h1>",
    ]
    parts.append(f"<p>{html.escape(_summary(trace))}</p>")
    parts += [f'<p class="gap">{html.escape(gap[0].upper() + gap[1:])}.</p>' for gap in trace.gaps]
    for section in sections(trace):
        parts.append(f"<section><h2>{html.escape(section.title)}</h2>")
        if not section.lines:
            parts.append('<p class="gap">not recorded</p>')
        else:
            parts.append(f"<table>{''.join(map(_row, section.lines))}</table>")
        parts.append("</section>")
    parts.append("</body></html>\n")
    return "\n".join(parts)


def _row(line: Line) -> str:
    text = f"<code>{html.escape(line.text)}</code>"
    if line.check:
        status = line.check.status
        detail = "" if status is Status.VERIFIED else f": {line.check.detail}"
        note = html.escape(f"{_SIGNS[status]} {status}{detail}")
        text += f' <span class="{status.name.lower()}">{note}</span>'
    return f"<tr><th>{html.escape(line.label.strip())}</th><td>{text}</td></tr>"
