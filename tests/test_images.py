"""The images' Dockerfiles and lock files; `make images` builds them, where a builder is."""

import re
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import grimp
import pytest

from modules.bindings import install
from scripts.builders import Build, Buildah, Docker, ImageError, find
from scripts.images import IMAGES, PYTHON, dockerfile, lock, record

ROOT = Path(__file__).parents[1]
EACH = pytest.mark.parametrize("image", IMAGES)
# Processes that an image starts beside its entry point.
BESIDE = {
    "rest": ("serving_images.prediction_log.__main__", "serving_images.runtime.artifact"),
    "streaming": ("serving_images.prediction_log.__main__", "serving_images.runtime.artifact"),
    "batch": ("serving_images.runtime.artifact",),
    "monitor": (),
}
# Imported by functions that no image calls: stores of other clouds, signing, the local warehouse's SQL.
UNUSED = {"boto3", "botocore", "model_signing"}
UNUSED_IN = {"batch": {"duckdb", "sqlglot"}, "monitor": set(), "rest": set(), "streaming": set()}
# What a module's name says of its distribution, where that has another.
DISTRIBUTION = {
    "google": "google-cloud-core",
    "grpc": "grpcio",
    "xgboost": "xgboost-cpu",
    "yaml": "pyyaml",
}


def instructions(image: str) -> list[list[tuple[str, str]]]:
    """Return the stages of an image: (instruction, rest) each; the first holds what is before them."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile(image).read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    stages: list[list[tuple[str, str]]] = [[]]
    for word, _, rest in (line.partition(" ") for line in lines if line.strip()):
        if word == "FROM":
            stages.append([])
        stages[-1].append((word, " ".join(rest.split())))
    return stages


@EACH
def test_it_runs_as_nobody_in_particular_on_a_base_that_can_be_chosen(image: str) -> None:
    before, build, final = instructions(image)
    assert [word for word, _ in before] == ["ARG", "ARG"]
    assert [rest.partition("=")[0] for _, rest in before] == ["BUILD_IMAGE", "BASE_IMAGE"]
    assert build[0] == ("FROM", "${BUILD_IMAGE} AS build")
    assert final[0] == ("FROM", "${BASE_IMAGE}")
    last = dict(final)
    assert last["USER"] == "65532:65532"
    assert last["ENTRYPOINT"] == f'["python3", "-m", "serving_images.{image}"]'
    assert "RUN" not in last, "the base has no shell"
    assert [rest for word, rest in final if word == "COPY"] == ["--from=build /app /app"]
    for label in ("title", "description", "licenses", "source", "revision"):
        assert f"org.opencontainers.image.{label}=" in last["LABEL"]


@EACH
def test_it_is_told_what_pods_tell_it(image: str) -> None:
    install()  # the bindings, before what is built on them
    from stacks.team import ARGS

    arguments = {pattern.value: args for pattern, args in ARGS.items()} | {"monitor": ["run"]}
    assert dict(instructions(image)[2])["CMD"] == str(arguments[image]).replace("'", '"')


@EACH
def test_its_packages_come_by_hash_and_from_nowhere_else(image: str) -> None:
    commands = [rest for word, rest in instructions(image)[1] if word == "RUN"]
    installing = commands[0]
    for option in ("--no-index", "--require-hashes", "--only-binary=:all:", "--no-deps", "from=wheels"):
        assert option in installing
    assert not re.search(r"apt|curl|wget|https?:|git ", " ".join(commands))
    assert not re.search(r"secret|token|password|index-url", dockerfile(image).read_text(), re.IGNORECASE)


def pins(text: str) -> dict[str, str]:
    """Return package -> version of a lock file, of the images' Python."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"([a-z0-9-]+)(?:\[[a-z0-9, _-]+\])?==([^ ;]+)(?: ; (.*?))? ?\\?$", line)
        if match and _applies(match[3] or ""):
            found[match[1]] = match[2]
    return found


def _applies(marker: str) -> bool:
    from packaging.markers import Marker

    here = {"python_full_version": f"{PYTHON}.9", "python_version": PYTHON, "sys_platform": "linux"}
    return not marker or Marker(marker).evaluate(here)


@EACH
def test_its_packages_are_those_that_the_tests_run_with(image: str) -> None:
    own, project = pins(lock(image).read_text()), pins((ROOT / "requirements.txt").read_text())
    assert own
    assert {name: version for name, version in own.items() if project.get(name) != version} == {}
    text = lock(image).read_text()
    assert text.count("==") == len(own) <= text.count("--hash=sha256:")
    named = {line.partition("[")[0] for line in lock(image).with_suffix(".in").read_text().split()}
    assert named <= own.keys(), "the lock file is not of this .in file"


@cache
def _graph() -> grimp.ImportGraph:
    return grimp.build_graph("serving_images", "modelyard", include_external_packages=True, cache_dir=None)


@cache
def imported(image: str) -> frozenset[str]:
    """Return what an image may import, with the packages that hold it."""
    graph, found = _graph(), set[str]()
    waiting = [f"serving_images.{image}.__main__", *BESIDE[image]]
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        waiting += graph.find_modules_directly_imported_by(module)
        waiting += [module.rpartition(".")[0]] if "." in module else []
    return frozenset(found)


def copied(image: str) -> Iterator[str]:
    """Yield the paths that an image holds."""
    for word, rest in instructions(image)[1]:
        if word == "COPY":
            yield from rest.split()[:-1]


@EACH
def test_it_holds_our_modules_that_it_imports_and_no_others(image: str) -> None:
    ours = {name for name in imported(image) if name.partition(".")[0] in ("serving_images", "modelyard")}
    paths = [path for path in copied(image) if not path.endswith("requirements.txt")]
    files = {file for path in paths for file in [ROOT / path, *(ROOT / path).rglob("*.py")]}
    for name in ours:
        path = ROOT / name.replace(".", "/")
        assert {path.with_suffix(".py"), path / "__init__.py"} & files, f"{name} is imported and not there"
    for there in paths:
        name = there.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        assert name in ours, f"{there} is there and nothing imports it"


@EACH
def test_it_holds_the_packages_that_it_imports(image: str) -> None:
    others = {
        name for name in imported(image) if name.partition(".")[0] not in ("serving_images", "modelyard")
    }
    needed = others - sys.stdlib_module_names - UNUSED - UNUSED_IN[image]
    own = pins(lock(image).read_text())
    missing = {name for name in needed if DISTRIBUTION.get(name, name.replace("_", "-")) not in own}
    assert missing == set()


def test_a_builder_that_is_not_there_is_told() -> None:
    with pytest.raises(ImageError, match="No nerdctl works here"):
        find("nerdctl")


def test_containers_run_as_pods_run_them() -> None:
    container = Docker("docker").container(
        "image", ["python3", "-V"], mounts={Path("/here"): "/there"}, env={"A": "b"}
    )
    words = container.start
    assert {"--read-only", "--cap-drop=ALL", "--user=65532:65532", "--volume=/here:/there"} <= set(words)
    assert words[-4:] == ["--entrypoint=python3", "image", "-V"][-4:] or words[-2:] == ["image", "-V"]
    assert container.remove[:3] == ["docker", "rm", "--force"]


def test_digests_are_written_to_the_environment_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "dev.yaml"
    shutil.copy(ROOT / "environments" / "dev.yaml", path)
    before = path.read_text().splitlines()
    record(path, {"rest": "sha256:" + "a" * 64, "monitor": "sha256:" + "b" * 64})
    changed = [new for old, new in zip(before, path.read_text().splitlines(), strict=True) if old != new]
    assert changed == ["  rest: sha256:" + "a" * 64, "  monitor: sha256:" + "b" * 64]
    with pytest.raises(ImageError, match="has no line '  nginx: sha256"):
        record(path, {"nginx": "sha256:" + "a" * 64})


def test_the_context_holds_code_and_nothing_else() -> None:
    rules = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert rules[0] == "*"
    assert {rule for rule in rules if rule.startswith("!")} == {"!modelyard", "!serving_images"}


@pytest.mark.skipif(
    not Buildah().works(), reason="there is no buildah here; make images needs one, or docker"
)
def test_a_build_that_fails_is_told(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY nothing /there\n")
    build = Build("localhost/modelyard-test:none", tmp_path / "Dockerfile", tmp_path, {}, {}, 0)
    with pytest.raises(ImageError, match=r"buildah build .* failed"):
        Buildah().build(build)
