"""A stand-in for the Google and Kubernetes providers: Terraform's protocol, no cloud, no credentials."""

NOTICE = (
    "Planned on the stand-in provider: arguments, types and references were checked; Google was not asked."
)
