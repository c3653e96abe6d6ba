# %% [markdown]
# # 04 Redirect gaze
# Sliders turn the gaze and the head of a person that the model never saw: the best trial of the newest study, smoke tests last, then two trials on the same sliders. Where nothing was trained yet, `demo` is shown, the model that comes with the program.

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
# **Parameters.** As they stand, the best trial of the newest study, smoke tests last, is shown, on its own data.

# %% tags=["parameters"]
out = home
checkpoint = None  # a best.pt or "demo"; None: the newest study's best trial, smoke tests last, else the newest training, else "demo"
compare = None  # two or more checkpoints (also "demo"); None: the best trial and the baseline of that study
data = None  # folder of HDF5 subjects; None: what the checkpoint was trained on, for "demo" people whom it never saw
sweep = "gaze-circle"  # or gaze-left-right, head-left-right

# %% [markdown]
# **Look around.** Choose a person and an image, then drag the sliders or move them with the arrow keys; they end where the training labels end. Pitch is positive upwards, yaw to the right of the image. The line below says what was asked and what the judge, a network that no loss used, reads in the image. The button writes the chosen sweep.

# %%
from helpers.notebook import show_image
from helpers.notebook.redirect_widget import open_comparison, open_panel

panel = open_panel(checkpoint, data, out)
panel.show()

# %% [markdown]
# **A sweep as a file**, with the person, the image and the angles that the sliders have now.

# %%
written = panel.save_sweep(sweep)
print("written:", *written)
show_image(written[0])

# %% [markdown]
# **Two trials, the same sliders.** What is better about the best trial?

# %%
comparison = open_comparison(compare, data, out)
comparison.show()
