"""What all tests share: the project's tools on PATH, and repeatable property tests."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from modelyard.toolchain import tool_environment
from modules import bindings

ROOT = Path(__file__).resolve().parent.parent

# Tests run cdktf, jsii and Terraform in this process and in others: all shall find the same ones.
_TOOLS = tool_environment(ROOT)
for _name in os.environ.keys() - _TOOLS.keys():
    del os.environ[_name]
os.environ.update(_TOOLS)

# Before any test imports cdktf.
bindings.install()

# How long an example takes depends on the machine. On CI the same examples are tried every time.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT
