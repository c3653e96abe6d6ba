"""Data: the published HDF5 layout, splits, loaders and the synthetic heads.

Each is imported when it is first used, as the verbs of `helpers` are: what only looks at files does not wait for torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
