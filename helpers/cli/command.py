"""The command `gazegaussian` of an installed copy: the script, whose packages are imported once its arguments are harmless."""

from __future__ import annotations

import sys

from gazegaussian.utils.hidden_options import reject_password
from helpers.utils.paths import STORAGE_VARIABLE


def main() -> None:
    """Run the command line."""
    try:
        reject_password(sys.argv[1:], "--storage", STORAGE_VARIABLE)
    except SystemExit as rejected:
        sys.stderr.write(f"{rejected}\n")
        sys.exit(2)
    import train_gazegaussian_optuna

    train_gazegaussian_optuna.main()
