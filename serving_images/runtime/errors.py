"""Why an image does not start."""

import sys
from collections.abc import Callable

EXIT_REFUSED = 2


class Refused(Exception):  # noqa: N818 - reads as what it says
    """The image must not run so; the message says what is wrong and how to mend it."""


def run(main: Callable[[], int]) -> int:
    """Return what `main` returns; where it is refused, print why, without a traceback, and return 2."""
    try:
        return main()
    except Refused as error:
        print(f"modelyard: {error}", file=sys.stderr, flush=True)
        return EXIT_REFUSED
