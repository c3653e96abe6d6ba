"""The verbs: studies, audits, estimates, confirmations, reports, trainings, redirection.

The script `train_gazegaussian_optuna.py` and the notebooks hold nothing but calls of these verbs. Each is imported when it is
first used: torch, plotly and scikit-learn take seconds, which a misspelt file name or a worker of a study should not wait for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
