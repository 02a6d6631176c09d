"""What can be wrong with a stored file; each message says how to mend it."""


class ArtifactError(Exception):
    """A file cannot be stored, fetched or trusted."""


class NotStored(ArtifactError):  # noqa: N818 - reads as what it says
    """There is no file of that name."""


class NameTaken(ArtifactError):  # noqa: N818 - reads as what it says
    """There is a file of that name, with other content; files are never overwritten."""
