"""Simulations of what the program says about its own results: how often is it right?"""
