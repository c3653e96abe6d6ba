"""Data: the published HDF5 layout, splits, loaders and the synthetic heads."""

from gazegaussian.data.check import DatasetReport, check_dataset
from gazegaussian.data.hdf5 import HeadDataset, collate, redirection_pairs
from gazegaussian.data.loader import HeadLoader, make_loader
from gazegaussian.data.splits import load_split
from gazegaussian.data.synthetic import ensure_synthetic, synthesize

__all__ = [
    "DatasetReport",
    "HeadDataset",
    "HeadLoader",
    "check_dataset",
    "collate",
    "ensure_synthetic",
    "load_split",
    "make_loader",
    "redirection_pairs",
    "synthesize",
]
