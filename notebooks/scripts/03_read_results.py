# %% [markdown]
# # 03 Read results
# Opens the studies under `out` and shows the best trials, images, figures with their numbers, and the dashboard. Nothing is trained here.

# %% [markdown]
# **Set-up.** Finds the repository, or fetches it; installs what is missing around the torch that is there; shows the machine.
# `drive=True` keeps studies on Google Drive (Colab), where they outlive the runtime. Running this again changes nothing.

# %%
import os, runpy, subprocess
from pathlib import Path

repository = os.environ.get("GAZEGAUSSIAN_REPOSITORY", "")  # clone URL, for a runtime without the files
here, me = Path.cwd(), {0, Path.cwd().stat().st_uid, getattr(os, "getuid", int)()}  # code of others is not run
places = [here, here.parent, here / "gazegaussian-studies"]
mine = [p for p in places if all(q.exists() and q.stat().st_uid in me for q in (p, p / "helpers/utils/runtime.py"))]
if not mine:
    assert repository, "No repository of yours here: set GAZEGAUSSIAN_REPOSITORY to its clone URL."
    subprocess.run(["git", "clone", "-q", "--depth", "1", repository, str(places[-1])], check=True)
home = runpy.run_path(str((mine or places[-1:])[0] / "helpers/utils/runtime.py"))["set_up"](drive=False)

# %% [markdown]
# **Parameters.**

# %% tags=["parameters"]
out = home
studies = None  # names of studies under `out`; None: the newest of each stage
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
