# %% [markdown]
# # 03 Read results
# Opens the studies under `out` and shows winners, curves and importances. Nothing is trained here.

# %% [markdown]
# **Set-up.** Finds the repository, or fetches it; installs what is missing around the torch that is there; shows the machine.
# `drive=True` keeps studies on Google Drive (Colab), where they outlive the runtime. Running this again changes nothing.

# %%
import os, runpy, subprocess
from pathlib import Path

repository = os.environ.get("GAZEGAUSSIAN_REPOSITORY", "")  # clone URL, for a runtime without the files
places = [Path.cwd(), *Path.cwd().parents, Path.cwd() / "gazegaussian-studies"]
root = next((p for p in places if (p / "train_gazegaussian_optuna.py").exists()), places[-1])
if not root.exists():
    assert repository, "Set repository (or GAZEGAUSSIAN_REPOSITORY) to the clone URL of this repository."
    subprocess.run(["git", "clone", "-q", "--depth", "1", repository, str(root)], check=True)
home = runpy.run_path(str(root / "helpers" / "colab.py"))["set_up"](drive=False)

# %% [markdown]
# **Parameters.**

# %% tags=["parameters"]
out = home
studies = ["meshhead_quick", "gazegaussian_quick"]
top = 3

# %% [markdown]
# **Winners**, best first, with the searched parameters.

# %%
from helpers.notebook import best_parameters, count_finished, load_study, show_best_images, show_figures, show_top

opened = {name: load_study(Path(out, name)) for name in studies}
for name, study in opened.items():
    print(name, "- finished trials:", count_finished(study))
    display(show_top(study, top))

# %% [markdown]
# **Best parameters** as `train --params` takes them back, with the baseline's value for comparison.

# %%
for name in studies:
    display(best_parameters(Path(out, name)))

# %% [markdown]
# **Figures.**

# %%
for study in opened.values():
    show_figures(study)

# %% [markdown]
# **Images** of the best trials.

# %%
for name, study in opened.items():
    show_best_images(study, Path(out, name))
