"""Write the released schemas: `python -m modelyard.tables`, after a table has grown."""

import sys

from modelyard.tables import SHARED_TABLES, TableError
from modelyard.tables.history import LOCK, check, rendered


def main() -> int:
    """Write the lock file; refuse, with exit code 2, what is not growth."""
    if LOCK.exists():
        try:
            check(SHARED_TABLES)
        except TableError as error:
            print(f"{LOCK.name} was not written: {error}", file=sys.stderr)
            return 2
    LOCK.write_text(rendered(SHARED_TABLES), encoding="utf-8")
    print(f"wrote {LOCK.name}: {len(SHARED_TABLES)} tables")
    return 0


if __name__ == "__main__":
    sys.exit(main())
