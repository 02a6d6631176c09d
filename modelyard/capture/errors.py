"""What ends a publication with a message instead of a traceback."""


class PublishError(Exception):
    """A version cannot be published; the message says where, what, and how to mend it."""

    __module__ = "modelyard.capture"  # the name by which it is imported, and caught
