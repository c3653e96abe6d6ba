"""Analyses of studies: which parameters matter, and what the values of their trials tell."""
