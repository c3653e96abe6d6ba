"""What `gazegaussian.data` offers: read by type checkers, and by `__init__.py` when a name is first used."""

from .check import DatasetReport as DatasetReport
from .check import check_dataset as check_dataset
from .hdf5 import HeadDataset as HeadDataset
from .hdf5 import redirection_pairs as redirection_pairs
from .loader import HeadLoader as HeadLoader
from .loader import make_loader as make_loader
from .samples import collate as collate
from .splits import People as People
from .splits import load_split as load_split
from .splits import people_of as people_of
from .synthetic.dataset import ensure_synthetic as ensure_synthetic
from .synthetic.dataset import ensure_test_people as ensure_test_people
from .synthetic.dataset import synthesize as synthesize
from .synthetic.generator import SyntheticSettings as SyntheticSettings
