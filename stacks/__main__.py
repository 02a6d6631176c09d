"""Entry point that `cdktf.json` names: `python -m stacks`."""

import os
import shutil
import sys

from modules.bindings import install

node = os.environ.get("JSII_NODE", "node")
if shutil.which(node) is None:
    print(f'''There is no '{node}', which synthesis needs. Run: eval "$(make -s env)"''', file=sys.stderr)
    sys.exit(2)
install()

from stacks.app import main  # noqa: E402 - the bindings must be in place before anything imports them

sys.exit(main())
