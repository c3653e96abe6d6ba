# %% [markdown]
# # 03 Read results
# Opens the studies under `out` and shows the best trials, images, figures with their numbers, and the dashboard. Nothing is trained here.

# %% [markdown]
# **Set-up.** Finds the repository, or fetches it; installs what is missing and leaves what is there as it is; shows the machine.
# In Colab studies go to Google Drive, where they outlive the runtime (`set_up(drive=False)`: they do not). Running this again changes nothing.

# %%
import os, runpy, subprocess
from pathlib import Path

REPOSITORY = os.environ.get("GAZEGAUSSIAN_REPOSITORY") or ""  # clone URL, for a runtime without the files
here, me = Path.cwd(), {0, Path.cwd().stat().st_uid, getattr(os, "getuid", int)()}  # code of others is not run
places = [here, here.parent, here / "gazegaussian-studies"]
mine = [p for p in places if all(q.exists() and q.stat().st_uid in me for q in (p, p / "helpers/utils/runtime.py"))]
clone = ["git", "clone", "-q", "--depth", "1", REPOSITORY, str(places[-1])]
if not mine and (not REPOSITORY or subprocess.run(clone).returncode):
    raise SystemExit("No repository of yours here: set REPOSITORY above to its clone URL and run this cell again.")
home = runpy.run_path(str((mine or places[-1:])[0] / "helpers/utils/runtime.py"))["set_up"]()

# %% [markdown]
# **Parameters.** Where studies are, which of them to show, and how many trials of each.

# %% tags=["parameters"]
out = home
studies = None  # names of studies under `out`; None: the newest of each stage, smoke tests last
top = 3

# %% [markdown]
# **Best trials**, best first, with the searched parameters.

# %%
from helpers.notebook import count_finished, open_studies, show_top

opened = open_studies(out, studies)
for name, study in opened.items():
    print(name, "- finished trials:", count_finished(study))
    show_top(study, top)

# %% [markdown]
# **Best parameters** beside the baseline's (the configured defaults) and what was searched.

# %%
from helpers.notebook.results_display import show_best_parameters, show_results, show_spending, show_top_images

for name, study in opened.items():
    show_best_parameters(study, Path(out, name))

# %% [markdown]
# **What it took**: epochs, time, device, and what pruning saved.

# %%
for name, study in opened.items():
    show_spending(study, Path(out, name))

# %% [markdown]
# **Images** of the best trials side by side, each of its best epoch; the line below them says what the rows are.

# %%
for name, study in opened.items():
    show_top_images(study, Path(out, name), top)

# %% [markdown]
# **Figures**; a click opens the numbers below each. Several objectives get their Pareto front. With few trials importances are a hint.

# %%
for name, study in opened.items():
    show_results(study, Path(out, name))

# %% [markdown]
# **Dashboard.** All studies in optuna-dashboard, running ones too: trials with validation images, curves and metrics. It only
# reads, listens on this machine alone and ends with the kernel.

# %%
from helpers import dashboard

dashboard(out)
