"""A publication that is killed, at any point, registers nothing by halves; publishing again works."""

import subprocess
import sys
from pathlib import Path

from modelyard.artifacts.digests import digest_of
from modelyard.spec.manifest import Manifest
from tests.modelyard.capture.test_publishing import line, registered

ROOT = Path(__file__).resolve().parents[3]
# Forks itself, so that what takes seconds is imported once; each child dies by SIGKILL at its point: when
# the file of that number is about to be created, or just was.
CHILDREN = """
import os, signal, sys
import model_signing.signing
from modelyard.artifacts.local import LocalStore
from tests.modelyard.capture.test_publishing import line
create = LocalStore.create

def killed_at(point, after):
    created = 0
    def dying(self, name, content):
        nonlocal created
        created += 1
        if created == point and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        done = create(self, name, content)
        if created == point:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    LocalStore.create = dying

for point, after in ((1, True), (3, False), (5, False), (5, True)):
    child = os.fork()
    if not child:
        os.environ["MODELYARD_REGISTRY"] = f"{sys.argv[1]}/{point}{after}/registry"
        killed_at(point, after)
        line(entry_point=sys.argv[2])
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_killed_publication_is_mended_by_publishing_again(registry: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILDREN, str(tmp_path), __file__]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["-9"] * 4, done.stderr
    for point, after in ((1, True), (3, False), (5, False), (5, True)):
        place = tmp_path / f"{point}{after}" / "registry"
        # The manifest is the fifth file: what is left before it is no version, and is nobody's.
        assert list(place.rglob("model-*"))
        assert bool(list(place.rglob("manifest.json"))) is (point == 5 and after)
        again = line(registry_at=place, entry_point=__file__)
        assert (again.manifest.version, again.new) == (1, not (point == 5 and after))
        held = Manifest.model_validate_json((place / "geometry/line/1/manifest.json").read_bytes())
        assert digest_of((place / held.artifact.uri).read_bytes()) == held.artifact.digest
        rows = [(row["version"], row["manifest_digest"]) for row in registered(place)]
        assert rows == [(1, held.digest)]
    assert not line(registry_at=place, entry_point=__file__).new
