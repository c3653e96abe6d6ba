"""Tells setuptools that `configs/` is part of the package `gazegaussian`; all else stands in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["gazegaussian", "gazegaussian.*", "helpers", "helpers.*"]),
        "gazegaussian.configs",
    ],
    package_dir={"gazegaussian.configs": "configs"},
)
