"""Checks and measurements around a study: audit, importances, confirmation, comparability of trials."""
