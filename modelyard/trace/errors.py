"""What ends a trace with a message instead of a record."""


class TraceError(Exception):
    """There is no such prediction, or it cannot be looked for; the message says what to do."""
