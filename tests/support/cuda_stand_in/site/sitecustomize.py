"""Puts the stand-in CUDA device into every Python process whose PYTHONPATH leads here (see `cuda_stand_in`)."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))  # tests/support, behind everything else

from cuda_stand_in.start import install_on_import

install_on_import()
