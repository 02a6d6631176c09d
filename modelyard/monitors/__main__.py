"""Write the generated pages: `python -m modelyard.monitors`, after a monitor has changed."""

from modelyard.monitors.runbooks import RUNBOOKS, SERIES, write

if __name__ == "__main__":
    print(f"wrote {write()} pages: {RUNBOOKS} and {SERIES}")
