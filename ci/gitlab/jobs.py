"""Writes the jobs that plan and apply affected stacks: `python ci/gitlab/jobs.py stacks.json > jobs.yml`."""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

# The identity's short-lived token, exchanged by the Google Cloud CLI and by Terraform alike.
_SIGN_IN = (
    'gcloud iam workload-identity-pools create-cred-config "$MODELYARD_PROVIDER" '
    '--service-account="$IDENTITY" '
    '--credential-source-file="$PWD/.token" --output-file="$PWD/.credentials.json"'
)


def _identity() -> dict[str, Any]:
    return {"MODELYARD_TOKEN": {"aud": "https://iam.googleapis.com/$MODELYARD_PROVIDER"}}


def _before() -> list[str]:
    return [
        "make setup",
        'eval "$(make -s env)"',
        'umask 077; printf %s "$MODELYARD_TOKEN" > .token',
        _SIGN_IN,
        'export GOOGLE_APPLICATION_CREDENTIALS="$PWD/.credentials.json"',
    ]


def jobs(entries: list[dict[str, str]]) -> dict[str, Any]:
    """Return the jobs: per stack one that plans and reviews, and one that applies what was planned."""
    if not entries:
        return {"nothing": {"script": ["echo No stack is affected."]}}
    found: dict[str, Any] = {"stages": ["plan", "apply"]}
    for entry in entries:
        stack = entry["stack"]
        folder = f"cdktf.out/stacks/{stack}"
        found[f"plan {stack}"] = {
            "stage": "plan",
            "id_tokens": _identity(),
            "variables": {"IDENTITY": entry["planner"], "MODELYARD_STACKS": stack},
            "before_script": _before(),
            "script": [
                ".venv/bin/python -m stacks",
                f'.venv/bin/python -m plan_review.guard "{stack}" {folder}/cdk.tf.json',
                f"cd {folder}",
                "terraform init -input=false",
                "terraform plan -input=false -lock=false -out=tfplan",
                "terraform show -json tfplan > plan.json",
                "cd -",
                "code=0",
                f".venv/bin/modelyard review --plan {stack}={folder}/plan.json --format markdown "
                "--output review.md --also json=review.json || code=$?",
                "cat review.md",
                '[ "$code" -eq 0 ] || [ "$code" -eq 3 ]',
                "rm -f .token .credentials.json",
            ],
            "artifacts": {
                "paths": [
                    "review.md",
                    "review.json",
                    *(f"{folder}/{name}" for name in ("cdk.tf.json", "tfplan", ".terraform.lock.hcl")),
                ],
                "expire_in": "5 days",
                "access": "developer",
            },
        }
        found[f"apply {stack}"] = {
            "stage": "apply",
            "needs": [f"plan {stack}"],
            # A protected environment: its approvers start this job.
            "when": "manual",
            "environment": {"name": stack},
            "resource_group": stack,
            "id_tokens": _identity(),
            "variables": {"IDENTITY": entry["deployer"]},
            "before_script": _before(),
            "script": [
                f"(cd {folder} && terraform init -input=false -lockfile=readonly "
                "&& terraform apply -input=false tfplan) && failed= || failed=--failed",
                f".venv/bin/modelyard record-deployment --environment {entry['environment']} "
                '--report review.json --actor "$IDENTITY" --repository "$CI_PROJECT_PATH" '
                '--commit "$CI_COMMIT_SHA" '
                '--approved-by "$GITLAB_USER_LOGIN" $failed',
                '[ -z "$failed" ]',
            ],
            "after_script": ["rm -f .token .credentials.json"],
        }
    return found


def main() -> None:
    """Print the jobs of the stacks in the file that the command line names."""
    print(yaml.safe_dump(jobs(json.loads(Path(sys.argv[1]).read_bytes())), sort_keys=False, width=1000))


if __name__ == "__main__":
    main()
