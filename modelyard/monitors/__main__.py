"""Write the runbooks: `python -m modelyard.monitors`, after a monitor has changed."""

from modelyard.monitors.runbooks import FOLDER, write

if __name__ == "__main__":
    print(f"wrote {write()} pages to {FOLDER.relative_to(FOLDER.parents[1])}")
