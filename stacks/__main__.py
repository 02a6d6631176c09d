"""Entry point that `cdktf.json` names: `python -m stacks`."""

import sys

from modules.bindings import install

install()

from stacks.app import main  # noqa: E402 - the bindings must be in place before anything imports them

sys.exit(main())
