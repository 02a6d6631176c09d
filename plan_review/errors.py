"""What the review refuses, in words for the person who called it."""


class ReviewError(Exception):
    """Input that cannot be reviewed: where, what is wrong, and how to mend it. Ends in exit code 2."""

    def __init__(self, where: str, what: str, mend: str = "") -> None:
        super().__init__(f"{where}: {what}" + (f" {mend}" if mend else ""))
        self.where = where
        self.what = what
        self.mend = mend
