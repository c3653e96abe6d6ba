# %% [markdown]
# # 00 Quickstart
# From nothing to a redirected gaze, at quick sizes (128 px): synthetic heads, MeshHead, GazeGaussian, one strip of gazes.
# Minutes on two CPU cores. Most cells call the command line that you can also run in a terminal.

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
# **Parameters.** Small, so that everything below takes minutes; more people and epochs give better faces.

# %% tags=["parameters"]
people, frames, size = 30, 2, 128
epochs_meshhead, epochs_gazegaussian = 8, 8
pairs = 40  # of source and target images, for the evaluation
data, out = "data/quickstart", home
published = ""  # eth_xgaze, columbia, mpii_face_gaze or gaze_capture: downloads that set, many GB of photographs

# %% [markdown]
# **Data.** Procedural heads with exact gaze labels in the published HDF5 layout; every fifth person is held out.

# %%
from helpers.notebook import run_script, show_image, show_training

run_script("data", "synth", data, "--people", people, "--size", size, "--frames", frames)

# %% [markdown]
# **Published photographs**, only when `published` names a data set above; run again to resume an interrupted download.

# %%
if published:
    run_script("data", "download", published, f"data/{published}")

# %% [markdown]
# **Stage one: MeshHead.** A neutral head mesh with branches for expression, pose and gaze.

# %%
run_script("train", "meshhead", "--data", data, "--epochs", epochs_meshhead, "--out", f"{out}/quickstart_meshhead")

# %% [markdown]
# Held-out people: targets, renders, silhouettes.

# %%
show_training(Path(out, "quickstart_meshhead"))

# %% [markdown]
# **Stage two: GazeGaussian.** Two streams of Gaussians and a DiT renderer, started from the mesh.

# %%
run = ["--data", data, "--epochs", epochs_gazegaussian, "--out", f"{out}/quickstart_gazegaussian"]
run_script("train", "gazegaussian", "--meshhead", f"{out}/quickstart_meshhead/best.pt", *run)

# %%
show_training(Path(out, "quickstart_gazegaussian"))

# %% [markdown]
# **Redirect.** A held-out person, told to look from left to right. After these few epochs at 128 px faces are soft and the eyes hardly
# follow; the end of this notebook shows what hours of training give.

# %%
yaws = [word for yaw in (-20, -10, 0, 10, 20) for word in ("--yaw", yaw)]
person = ["--data", data, "--subject", f"subject{min(people, 5) - 1:04d}"]
strip = f"{out}/quickstart_strip.png"
run_script("redirect", f"{out}/quickstart_gazegaussian/best.pt", *person, "--pitch", 0, *yaws, "--out", strip)
show_image(strip)

# %% [markdown]
# **Evaluate.** Held-out people redirected to other images of themselves; what measured each number stands beside it.

# %%
evaluated = ["--wide", "--data", data, "--pairs", pairs, "--out", f"{out}/quickstart_evaluation"]
run_script("evaluate", f"{out}/quickstart_gazegaussian/best.pt", *evaluated)
show_image(f"{out}/quickstart_evaluation/evaluation.png", width=520)

# %% [markdown]
# **The shipped model.** `demo` comes with the program: the same code, trained for four and a half hours on a two-core CPU. None of the people here were in its training data.
# Drag the sliders, or name it in commands: `redirect demo`, `sweep demo`, `evaluate demo`, `train gazegaussian --init-from demo`.

# %%
from helpers.notebook.redirect_widget import show_demo

panel = show_demo(out)
