"""Losses: pure functions; weights live in the configuration."""
