"""Evaluation of trained models: the paper's protocol, its judges, its table."""
