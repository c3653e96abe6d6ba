"""Figures and pages about a study, for people to read."""
