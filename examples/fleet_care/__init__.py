"""Models of the team `fleet-care`."""
