"""Prints where a workflow pushes the images to, as JSON: one entry for each environment on Google Cloud."""

import json
from pathlib import Path

from modelyard.naming import IMAGE_PUBLISHER, Names
from modelyard.spec.load import environment_names, load_environment

ROOT = Path(__file__).resolve().parent.parent


def targets(root: Path) -> list[dict[str, str]]:
    """Return environment, registry, identity and file of each environment under `root`.

    Raises:
        SpecError: an environment has problems.
    """
    found = []
    for environment in (load_environment(root, name) for name in environment_names(root)):
        if environment.stand_in:
            continue
        names = Names.of(environment)
        pools = f"projects/{names.project_number}/locations/global/workloadIdentityPools"
        found.append(
            {
                "environment": names.environment,
                "registry": names.registry,
                "provider": f"{pools}/{names.ci_pool}/providers/github",
                "publisher": names.service_account(IMAGE_PUBLISHER),
                "file": f"environments/{names.environment}.yaml",
            }
        )
    return found


if __name__ == "__main__":
    print(json.dumps(targets(ROOT)))
