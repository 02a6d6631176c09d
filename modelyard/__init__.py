"""Modelyard: what infrastructure, serving images and training code share."""
