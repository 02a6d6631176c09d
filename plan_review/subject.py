"""Whom things belong to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Subject:
    """Whom something belongs to; empty where it is shared."""

    environment: str = ""
    team: str = ""
    model: str = ""

    def __str__(self) -> str:
        if self.model:
            return f"{self.team}/{self.model}" if self.team else self.model
        return f"team {self.team}" if self.team and self.team != "platform" else "the platform"
