"""Models of the team `flight-ops`."""
