"""Text that reaches Terraform: its template language must take it as it stands."""


def literal(text: str) -> str:
    """Return `text` with Terraform's template openings escaped, so that nobody's words are evaluated."""
    return text.replace("${", "$${").replace("%{", "%%{")
