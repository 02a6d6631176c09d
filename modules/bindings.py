"""Makes the prebuilt provider bindings load only what an app uses.

The stock bindings load every service of a provider at the first import: 1,470 Python submodules and as many
in node for Google alone, 15 to 35 seconds and 1.5 GB before the first resource. Here both sides are lazy:

- In Python, an import hook puts a package in the provider package's place that loads submodules on use.
- In node, `lazy_bindings.cjs` does the same for the provider's index.

Nothing else changes: the submodules, the assembly and the jsii runtime are the stock ones, so the synthesized
JSON is byte-identical. Where the bindings are not laid out as expected here, they load as they do without
this module, and one line on stderr says why. `MODELYARD_BINDINGS=stock` switches it off.

Example:
    Before anything imports cdktf, an app says::

        from modules import bindings

        bindings.install()
"""

import gc
import importlib
import json
import os
import re
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

HOOK = Path(__file__).with_name("lazy_bindings.cjs")
_PREFIX = "cdktf_cdktf_provider_"
# The first assembly that any app loads, and with it the node process.
_FIRST_ASSEMBLY = "constructs"


def install() -> bool:
    """Make the provider bindings lazy, from here on, in this process.

    Call it before anything imports cdktf. Further calls do nothing. Never raises: an app runs without it too.

    Returns:
        Whether the bindings are lazy now. If not although they should be, one line on stderr says why.
    """
    if any(isinstance(finder, _LazyProviders) for finder in sys.meta_path):
        return True
    choice = os.environ.get("MODELYARD_BINDINGS", "auto")
    if choice == "stock":
        return False
    if choice != "auto":
        return _stock(f"MODELYARD_BINDINGS is '{choice}', which is neither 'auto' nor 'stock'")
    if _FIRST_ASSEMBLY in sys.modules:
        return _stock("cdktf was imported before modules.bindings.install() was called")
    if not HOOK.is_file():
        return _stock(f"{HOOK} is missing")
    try:
        _start_node()
    except Exception as error:
        return _stock(f"node did not start with {HOOK.name}: {error}")
    sys.meta_path.insert(0, _LazyProviders())
    return True


def _stock(why: str) -> bool:
    print(f"modelyard: using the stock provider bindings, which are slow: {why}", file=sys.stderr)
    return False


def _start_node() -> None:
    """Start jsii's node process with the hook, and leave the environment of other children as it was."""
    before = os.environ.get("NODE_OPTIONS")
    hook = f"--require {json.dumps(HOOK.as_posix(), ensure_ascii=False)}"
    os.environ["NODE_OPTIONS"] = f"{before} {hook}" if before else hook
    try:
        importlib.import_module(_FIRST_ASSEMBLY)
    finally:
        if before is None:
            del os.environ["NODE_OPTIONS"]
        else:
            os.environ["NODE_OPTIONS"] = before


class _LazyProviders(MetaPathFinder):
    """Finds the provider packages with their submodules, and cdktf."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith((_PREFIX, "cdktf.")) and fullname != "cdktf":
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is None or spec.origin is None:
            return spec
        if path is None and fullname != "cdktf":
            try:
                spec.loader = _LazyPackage(_submodules(Path(spec.origin)))
                return spec
            except (OSError, ValueError) as error:
                _stock(f"{fullname}: {error}")
        if isinstance(spec.loader, SourceFileLoader):
            spec.loader = _BigSource(fullname, spec.origin)
        return spec


class _BigSource(SourceFileLoader):
    """Loads a submodule, which may be 3.5 MB of Python and tens of thousands of objects."""

    def get_code(self, fullname: str) -> CodeType | None:
        # Bytecode is kept also under PYTHONDONTWRITEBYTECODE: compiling takes longer than everything else.
        before, sys.dont_write_bytecode = sys.dont_write_bytecode, False
        try:
            return super().get_code(fullname)
        finally:
            sys.dont_write_bytecode = before

    def exec_module(self, module: ModuleType) -> None:
        # All of these objects stay: the garbage collector need not look at them, now or later.
        enabled = gc.isenabled()
        gc.disable()
        try:
            super().exec_module(module)
        finally:
            gc.freeze()
            if enabled:
                gc.enable()


def _submodules(init: Path) -> list[str]:
    """Return the names of all submodules that the `__init__` at `init` imports.

    Raises:
        ValueError: it does more than importing its submodules, so leaving it out could change a program.
    """
    source = init.read_text(encoding="utf-8")
    names = re.findall(r"^from \. import (\w+)$", source, re.MULTILINE)
    folders = {entry.name for entry in os.scandir(init.parent) if entry.is_dir()} - {"_jsii", "__pycache__"}
    if not names or set(names) != folders or re.search(r"^(class|@)", source, re.MULTILINE):
        raise ValueError("the package is not laid out as this version of Modelyard knows it")
    return names


class _LazyPackage(Loader):
    """Runs a provider package without its imports."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def exec_module(self, module: ModuleType) -> None:
        package, names = module.__name__, self._names

        def load(name: str) -> ModuleType:
            if name not in names:
                raise AttributeError(f"module '{package}' has no attribute '{name}'")
            return importlib.import_module(f"{package}.{name}")

        module.__dict__.update(
            __all__=names, __getattr__=load, __dir__=lambda: sorted([*vars(module), *names])
        )
        _tell_jsii(package, names)


def _tell_jsii(package: str, names: list[str]) -> None:
    """Let jsii find the submodule of a type that node returns before Python imported that submodule."""
    known = getattr(sys.modules.get("jsii._reference_map"), "_submodule_fqn_map", None)
    if known is not None:
        assembly = "@cdktf/provider-" + package.removeprefix(_PREFIX).replace("_", "-")
        known.update({f"{assembly}.{_camel(name)}": f"{package}.{name}" for name in names})


def _camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)
