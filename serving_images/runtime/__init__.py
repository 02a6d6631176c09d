"""What the REST, batch and streaming images share: settings, models, input checks, metrics."""
