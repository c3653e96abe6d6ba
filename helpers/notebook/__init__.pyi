"""What the cells of the notebooks call most; read by type checkers and by `__init__.py` when a name is first used."""

from .display import count_finished as count_finished
from .display import load_study as load_study
from .display import open_studies as open_studies
from .display import run_script as run_script
from .display import show_best_images as show_best_images
from .display import show_figures as show_figures
from .display import show_image as show_image
from .display import show_top as show_top
from .display import show_training as show_training
from .display import show_trials as show_trials
