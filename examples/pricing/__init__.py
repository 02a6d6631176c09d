"""Models of the team `pricing`."""
