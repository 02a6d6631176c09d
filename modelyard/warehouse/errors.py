"""What the warehouse tells people when it cannot do what they asked."""


class WarehouseError(Exception):
    """Rows that cannot be added or a statement that cannot run; the message says why and what to do."""
