"""The lazy bindings load what is used, give what the stock ones give, and step aside where they cannot."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from modelyard.toolchain import find_node
from modules.bindings import HOOK

ROOT = Path(__file__).parents[2]
COMPLAINT = "modelyard: using the stock provider bindings"
INSTALL = "from modules import bindings; lazy = bindings.install()\n"

# Many resource types, nested blocks, references, a data source, manifests, an aspect and escape hatches.
SAMPLE = """
import importlib, sys
import jsii
from cdktf import App, Aspects, Fn, GcsBackend, IAspect, TerraformOutput, TerraformStack, TerraformVariable
from cdktf import Token
from constructs import IConstruct
from cdktf_cdktf_provider_google import bigquery_table, storage_bucket as storage
from cdktf_cdktf_provider_google import monitoring_alert_policy as alerts
from cdktf_cdktf_provider_google.bigquery_dataset import BigqueryDataset
from cdktf_cdktf_provider_google.data_google_project import DataGoogleProject
from cdktf_cdktf_provider_google.project_iam_member import ProjectIamMember, ProjectIamMemberCondition
from cdktf_cdktf_provider_google.provider import GoogleProvider
from cdktf_cdktf_provider_google.pubsub_subscription import PubsubSubscription
from cdktf_cdktf_provider_google.pubsub_subscription import PubsubSubscriptionDeadLetterPolicy
from cdktf_cdktf_provider_google.service_account import ServiceAccount
import cdktf_cdktf_provider_kubernetes as kubernetes
from cdktf_cdktf_provider_kubernetes.manifest import Manifest
from cdktf_cdktf_provider_kubernetes.provider import KubernetesProvider

@jsii.implements(IAspect)
class Label:
    def visit(self, node: IConstruct) -> None:
        if isinstance(node, (storage.StorageBucket, BigqueryDataset)):
            node.labels = {**(node.labels_input or {}), "environment": "test"}

app = App(outdir=sys.argv[1])
for number in range(3):
    stack = TerraformStack(app, f"stack-{number}")
    GcsBackend(stack, bucket="state", prefix=f"stack-{number}")
    GoogleProvider(stack, "google", project="p", region="europe-west3", default_labels={"a": "b"})
    KubernetesProvider(stack, "kubernetes", host="https://example.com", token="${var.token}")
    size = TerraformVariable(stack, "size", type="number", default=3)
    project = DataGoogleProject(stack, "project", project_id="p")
    account = ServiceAccount(stack, "account", account_id="model", display_name="M\\u00e4\\u00f6 \\U0001f600")
    ProjectIamMember(stack, "role", project="p", role="roles/viewer", member=account.member,
        condition=ProjectIamMemberCondition(title="t", expression='request.time < timestamp("2030-01-01")'))
    bucket = storage.StorageBucket(stack, "bucket", name=Fn.join("-", ["b", project.number]), location="EU",
        labels={"n": str(number)}, versioning={"enabled": True},
        lifecycle_rule=[storage.StorageBucketLifecycleRule(
            action=storage.StorageBucketLifecycleRuleAction(type="Delete"),
            condition=storage.StorageBucketLifecycleRuleCondition(age=30, matches_prefix=["x/"]))])
    bucket.put_retention_policy(retention_period=86400, is_locked=False)
    bucket.add_override("lifecycle.prevent_destroy", True)
    dataset = BigqueryDataset(stack, "dataset", dataset_id="d", depends_on=[bucket])
    table = bigquery_table.BigqueryTable(stack, "table", dataset_id=dataset.dataset_id, table_id="t",
        schema="[]", clustering=["a"],
        time_partitioning=bigquery_table.BigqueryTableTimePartitioning(type="DAY"))
    threshold = alerts.MonitoringAlertPolicyConditionsConditionThreshold(comparison="COMPARISON_GT",
        duration="60s", filter="f", threshold_value=Token.as_number(size.value),
        aggregations=[{"alignmentPeriod": "60s", "perSeriesAligner": "ALIGN_MEAN"}])
    alerts.MonitoringAlertPolicy(stack, "alert", display_name="a", combiner="OR",
        user_labels={"t": table.table_id},
        conditions=[alerts.MonitoringAlertPolicyConditions(display_name="c", condition_threshold=threshold)])
    PubsubSubscription(stack, "subscription", name="s", topic="t", retain_acked_messages=False,
        dead_letter_policy=PubsubSubscriptionDeadLetterPolicy(dead_letter_topic="d", max_delivery_attempts=5))
    metadata = {"name": "m", "labels": {"app": "m"}}
    kubernetes.deployment_v1.DeploymentV1(stack, "deployment", metadata=metadata,
        spec={"replicas": "2", "selector": {"match_labels": {"app": "m"}},
            "template": {"metadata": metadata, "spec": {"container": [{"name": "c", "image": "i",
                "port": [{"containerPort": 8080}], "resources": {"limits": {"cpu": "1"}}}]}}})
    Manifest(stack, "route", manifest={"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
        "data": {"list": [1, 2.5, None, True, {"deep": [["x"]]}], "bucket": bucket.name}})
    # A name that no static analysis finds.
    topic = importlib.import_module("cdktf_cdktf_provider_google." + "_".join(["pubsub", "topic"]))
    topic.PubsubTopic(stack, "topic", name="t", message_storage_policy={"allowed_persistence_regions": ["e"]})
    TerraformOutput(stack, "email", value=account.email, sensitive=True)
Aspects.of(app).add(Label())
app.synth()
print(sum(name.startswith("cdktf_cdktf_provider_google.") for name in sys.modules))
"""


def environment() -> dict[str, str]:
    """Return an environment with node and without the user's settings for what is tested here."""
    ours = ("MODELYARD_BINDINGS", "NODE_OPTIONS", "PYTHONPATH")
    clean = {name: value for name, value in os.environ.items() if name not in ours}
    # jsii's own warnings about the age of node are no concern here.
    quiet = {"JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20,22,24"}
    return {"JSII_NODE": find_node(ROOT), "PYTHONPATH": str(ROOT)} | clean | quiet


def run(code: str, *args: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a new interpreter; it must succeed."""
    command = [sys.executable, "-c", code, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment() | env, timeout=300)
    assert done.returncode == 0, done.stderr
    return done


def files(folder: Path) -> Mapping[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_output_is_byte_identical_and_only_used_submodules_load(tmp_path: Path) -> None:
    fast = run(INSTALL + SAMPLE, tmp_path / "lazy")
    slow = run(INSTALL + SAMPLE, tmp_path / "stock", MODELYARD_BINDINGS="stock")

    assert files(tmp_path / "lazy") == files(tmp_path / "stock")
    assert len(files(tmp_path / "stock")) == 4, "three stacks and the manifest"
    assert int(fast.stdout) < 30 < 1000 < int(slow.stdout)
    assert fast.stderr == slow.stderr == ""


def test_package_loads_submodules_as_the_stock_one_offers_them() -> None:
    done = run(
        INSTALL
        + textwrap.dedent("""
        import gc, sys
        import cdktf_cdktf_provider_google as google

        assert lazy and bindings.install(), "a second call changes nothing"
        assert "storage_bucket" in dir(google) and "storage_bucket" in google.__all__
        assert "cdktf_cdktf_provider_google.storage_bucket" not in sys.modules
        assert google.storage_bucket.StorageBucket.__name__ == "StorageBucket"
        assert gc.isenabled()
        gc.disable()
        assert google.pubsub_topic and not gc.isenabled(), "the garbage collector stays as it was"
        try:
            google.storage_buckets
        except AttributeError as error:
            print(error)
        try:
            import cdktf_cdktf_provider_google.storage_buckets
        except ModuleNotFoundError as error:
            print(error)

        # What node returns may be of a submodule that Python has not imported yet.
        from jsii._reference_map import _try_import_type_module
        assert _try_import_type_module("@cdktf/provider-google.computeRegionUrlMap.ComputeRegionUrlMap")
        assert "cdktf_cdktf_provider_google.compute_region_url_map" in sys.modules
        """)
    )
    assert done.stdout.splitlines() == [
        "module 'cdktf_cdktf_provider_google' has no attribute 'storage_buckets'",
        "No module named 'cdktf_cdktf_provider_google.storage_buckets'",
    ]


def test_node_options_of_the_user_are_kept_and_others_do_not_see_ours() -> None:
    code = "import os\n" + INSTALL + "import cdktf\nassert lazy\nprint(os.environ.get('NODE_OPTIONS'))"
    assert run(code).stdout == "None\n"
    assert run(code, NODE_OPTIONS="--max-old-space-size=3000").stdout == "--max-old-space-size=3000\n"


@pytest.mark.parametrize(
    ("before", "env", "why"),
    [
        ("import constructs\n", {}, "cdktf was imported before modules.bindings.install() was called"),
        (
            "",
            {"MODELYARD_BINDINGS": "fast"},
            "MODELYARD_BINDINGS is 'fast', which is neither 'auto' nor 'stock'",
        ),
        ("import modules.bindings as b; b.HOOK = b.HOOK.with_name('gone.cjs')\n", {}, "gone.cjs is missing"),
        ("", {"JSII_NODE": "no-such-node"}, "node did not start with lazy_bindings.cjs"),
    ],
)
def test_install_steps_aside_in_one_line(before: str, env: dict[str, str], why: str) -> None:
    check = "import sys; assert not lazy; print([type(finder).__name__ for finder in sys.meta_path])"
    done = run(before + INSTALL + check, **env)
    assert "_LazyProviders" not in done.stdout
    # jsii adds a traceback of its own where node is missing.
    ours = [line for line in done.stderr.splitlines() if "modelyard" in line]
    assert len(ours) == 1 and ours[0].startswith(f"{COMPLAINT}, which are slow: ") and why in ours[0]


@pytest.mark.parametrize(
    ("init", "lazy"),
    [
        ("from . import one\nfrom . import two\n", True),
        ("from . import one\n", False),
        ("from . import one\nfrom . import two\nclass Root:\n    pass\n", False),
        ("", False),
    ],
    ids=["known", "a submodule is not imported", "a type at the root", "nothing imported"],
)
def test_package_of_unknown_layout_loads_as_it_is(tmp_path: Path, init: str, lazy: bool) -> None:
    package = tmp_path / "cdktf_cdktf_provider_sample"
    for name in ("one", "two"):
        (package / name).mkdir(parents=True)
        (package / name / "__init__.py").touch()
    (package / "__init__.py").write_text(init + "ran = True\n")

    done = run(
        INSTALL + "import cdktf_cdktf_provider_sample as s; print(hasattr(s, 'ran'))",
        PYTHONPATH=f"{ROOT}:{tmp_path}",
    )

    assert done.stdout == f"{not lazy}\n"
    assert ("cdktf_cdktf_provider_sample: the package is not laid out" in done.stderr) is not lazy


def test_bytecode_of_the_bindings_is_kept_and_no_other(tmp_path: Path) -> None:
    for name in ("cdktf_cdktf_provider_sample", "cdktf_cdktf_provider_sample/one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("from . import one\n" if name.endswith("sample") else "")
    code = INSTALL + "import sys, cdktf_cdktf_provider_sample.one, other; print(sys.dont_write_bytecode)"

    done = run(code, PYTHONPATH=f"{ROOT}:{tmp_path}", PYTHONDONTWRITEBYTECODE="1", PYTHONPYCACHEPREFIX="")

    assert done.stdout == "True\n"
    kept = [str(path.parent.parent.relative_to(tmp_path)) for path in tmp_path.rglob("*.pyc")]
    assert kept == ["cdktf_cdktf_provider_sample/one"]


INDEX = """"use strict";
Object.defineProperty(exports, "__esModule", { value: true });
exports.two = exports.one = void 0;
exports.one = require("./one");
exports.two = require('./part-two');
//# sourceMappingURL=data:application/json;base64,cmVxdWlyZSgp
"""


@pytest.mark.parametrize(
    ("extra", "loaded", "complaints"),
    [("", ["one"], 0), ('__exportStar(require("./one"), exports);\n', ["one", "two"], 1)],
    ids=["known", "unknown layout"],
)
def test_node_loads_the_index_lazily_or_as_it_is(
    tmp_path: Path, extra: str, loaded: list[str], complaints: int
) -> None:
    lib = tmp_path / "node_modules" / "@cdktf" / "provider-sample" / "lib"
    for name, file in (("one", "one"), ("two", "part-two")):
        (lib / file).mkdir(parents=True)
        (lib / file / "index.js").write_text(f"loaded.push('{name}'); exports.name = '{name}';")
    helper = "function __exportStar() {}\n" if extra else ""
    (lib / "index.js").write_text(INDEX.replace("exports.two = ex", helper + "exports.two = ex") + extra)
    script = f"""
        global.loaded = [];
        const index = require({json.dumps(str(lib / "index.js"))});
        const keys = Object.keys(index), first = index.one.name, again = index.one === index.one;
        console.log(JSON.stringify([[...loaded], keys.sort(), first, again, index.two.name]));
    """
    command = [environment()["JSII_NODE"], "--require", str(HOOK), "-e", script]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == [loaded, ["one", "two"], "one", True, "two"]
    assert done.stderr.count(COMPLAINT) == done.stderr.count("\n") == complaints


def test_tokens_keep_no_javascript_frames(tmp_path: Path) -> None:
    file = tmp_path / "cdktf" / "lib" / "tokens" / "private" / "stack-trace.js"
    file.parent.mkdir(parents=True)
    file.write_text("exports.captureStackTrace = () => ['frame']; exports.other = () => ['kept'];")
    script = f"const m = require({json.dumps(str(file))}); console.log(m.captureStackTrace(), m.other())"
    command = [environment()["JSII_NODE"], "--require", str(HOOK), "-e", script]

    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[] [ 'kept' ]\n"


def test_runs_at_once_on_a_cold_cache_leave_an_index_for_the_next(tmp_path: Path) -> None:
    code = INSTALL + textwrap.dedent("""
        import sys
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_kubernetes.provider import KubernetesProvider
        app = App(outdir=sys.argv[1])
        KubernetesProvider(TerraformStack(app, "s"), "kubernetes")
        app.synth()
    """)
    cache = tmp_path / "cache"
    env = environment() | {"JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(cache)}
    runs = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path / name], env=env, stderr=subprocess.DEVNULL)
        for name in ("a", "b")
    ]

    assert [process.wait(timeout=300) for process in runs] == [0, 0]
    assert files(tmp_path / "a") == files(tmp_path / "b") != {}
    assert list(cache.glob("@cdktf/provider-kubernetes/*/*/.jsii.runtime.v*.json")), (
        "the run did not wait for jsii"
    )
