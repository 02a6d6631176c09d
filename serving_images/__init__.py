"""The images that serve, score, and watch models. Their code runs on a laptop as it does in the images."""
