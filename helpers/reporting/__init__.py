"""Figures and pages about a study."""
