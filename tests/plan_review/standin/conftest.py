"""One running stand-in for all tests of a process, and small Terraform configurations that use it."""

import copy
import json
import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from plan_review.standin import launch, schema, sources

Json = dict[str, Any]
PROVIDERS = {
    "google": {"project": "acme-test", "region": "europe-west4"},
    "kubernetes": {"host": "https://10.0.0.2"},
}


class Workspace:
    """A folder with one Terraform configuration."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, resources: Json, **more: Any) -> None:
        """Replace the configuration; `more` holds outputs, data sources or another provider configuration."""
        kinds = [*resources, *more.get("data", {})]
        names = sorted({kind.split("_", 1)[0] for kind in kinds} & PROVIDERS.keys())
        required = {name: {"source": f"hashicorp/{name}"} for name in names}
        configuration: Json = {
            "terraform": {"required_providers": required},
            "provider": {name: PROVIDERS[name] for name in names},
            "resource": resources,
            **more,
        }
        text = json.dumps({key: value for key, value in configuration.items() if value}, indent=1)
        (self.folder / "main.tf.json").write_text(text)

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [self.environment["TERRAFORM_BINARY_NAME"], *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if check and done.returncode:
            raise AssertionError(f"terraform {' '.join(words)}: {(done.stdout + done.stderr)[-4000:]}")
        return done

    def problems(self) -> list[Json]:
        """What `terraform validate` refuses."""
        found: list[Json] = json.loads(self.run("validate", "-json", check=False).stdout)["diagnostics"]
        return [problem for problem in found if problem["severity"] == "error"]

    def plan(self) -> dict[str, Json]:
        """Plan, and return the change of each resource by its address."""
        self.run("plan", "-input=false", "-out=plan", "-no-color")
        shown = json.loads(self.run("show", "-json", "plan").stdout)
        return {change["address"]: change["change"] for change in shown.get("resource_changes", [])}

    def apply(self) -> None:
        self.run("apply", "-auto-approve", "-input=false", "-no-color")

    def is_clean(self) -> bool:
        """Whether a plan is empty."""
        done = self.run("plan", "-input=false", "-no-color", "-detailed-exitcode", check=False)
        if done.returncode == 1:
            raise AssertionError(done.stderr[-4000:])
        return done.returncode == 0

    def state(self) -> dict[str, Json]:
        """The stored attributes of each resource and data source by its address."""
        stored = json.loads((self.folder / "terraform.tfstate").read_text())
        return {
            f"{'data.' if r['mode'] == 'data' else ''}{r['type']}.{r['name']}": i["attributes"]
            for r in stored["resources"]
            for i in r["instances"]
        }


def changed(resources: Json, path: str, value: Any) -> Json:
    """The resources with one value replaced, or removed; list positions stand in the path as numbers."""
    result = copy.deepcopy(resources)
    inner: Any = result
    *steps, last = path.split(".")
    for step in steps:
        inner = inner[int(step)] if isinstance(inner, list) else inner[step]
    if value is None:
        del inner[last]
    elif isinstance(inner, list):
        inner[int(last)] = value
    else:
        inner[last] = value
    return result


@pytest.fixture(scope="session")
def standin() -> Iterator[dict[str, str]]:
    """The environment of a Terraform that uses the running stand-in."""
    with launch.running() as added:
        yield {**os.environ, **added, "TF_IN_AUTOMATION": "1"}


@pytest.fixture
def workspace(tmp_path: Path, standin: dict[str, str]) -> Workspace:
    return Workspace(tmp_path / "stack", standin)


@cache
def load(name: str) -> schema.Schema:
    """The schema of one source, from the cache that the stand-in uses too."""
    return schema.load(next(source for source in sources.ALL if source.name == name))


@pytest.fixture(scope="session")
def google() -> schema.Schema:
    return load("google")


@pytest.fixture(scope="session")
def kubernetes() -> schema.Schema:
    return load("kubernetes")
