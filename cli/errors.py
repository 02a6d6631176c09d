"""What the command tells people when it cannot do what they asked."""


class CommandError(Exception):
    """The command cannot do this; the message says why and what to do. Exit code 2."""
