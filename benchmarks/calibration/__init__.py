"""Simulations of what the program states: how often each statement is right."""
