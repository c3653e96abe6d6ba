# %% [markdown]
# # 02 GazeGaussian study
# Tunes learning rate, renderer depth, heads and patches, and loss weights. Trials report their validation metric every epoch; hopeless ones are pruned.
# Running all cells again resumes the study where it stopped. Run notebook 01 first; 03 shows every figure, 04 the best trial on sliders.

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
# **Parameters.** `quick` runs in minutes on a CPU; `full` holds the published sizes and ranges for a GPU. `smoke` tests
# everything below in a minute or two, on a few images; it has a study of its own. Trials of one study share sizes, epochs and data: to change
# them when results exist, give another `study_name` (or `resume = False`); more trials need no new name.

# %% tags=["parameters"]
sizes = "quick"  # quick, demo, full
smoke = False  # True: two trials of one epoch on a few images
n_trials = None  # finished trials in total; None: the study file's (quick: 10); raise it and run again to continue
gpu_hours = None  # at most in one run; None: no limit
epochs = None  # per trial; None: as configured
final_epochs = None  # of the final training with the best parameters; None: the best trial as it is
data, meshhead = None, None  # HDF5 folder (None: synthetic heads); MeshHead best.pt (None: its study's best)
out = home  # where studies land; on Drive they survive a disconnect
study_name = None  # another name is another study, which other epochs or data need; None: stage and sizes
resume = True  # resumes the newest study of this name and these settings; False: creates another one beside it

# %% [markdown]
# **Audit.** Lets every searched parameter take a training step at values from its whole range: does it reach training, and does it leave the metric alone? A culprit is named here, before anything is spent. A passed audit is remembered.

# %%
from helpers.notebook import load_study, show_best_images, show_figures, show_trials
from helpers.notebook.session import plan_study

settings = dict(sizes=sizes, smoke=smoke, trials=n_trials, gpu_hours=gpu_hours, epochs=epochs, data=data, out=out)
plan = plan_study("gazegaussian", **settings, resume=resume, study_name=study_name, meshhead=meshhead)
plan.audit()

# %% [markdown]
# **Estimate.** One epoch of the baseline is trained and measured: time, memory and disk of the whole study.

# %%
plan.estimate()

# %% [markdown]
# **Run or resume, and watch.** The baseline (the configured defaults) is always the first trial. Stage two starts from the best trial
# of the MeshHead study of the same sizes under `out`; where there is none, of another one (the log names it, and the others).
# Stop with the button or by interrupting the cell: the running epoch ends. Run the cell again to resume.
# Interrupted twice, it stops at once.

# %%
await plan.run()

# %% [markdown]
# **All trials.**

# %%
study = load_study(plan.folder)
show_trials(study)

# %% [markdown]
# **History.** The learning curves stand above, where the study ran.

# %%
show_figures(study, ["history"])

# %% [markdown]
# **What the best trial draws** of held-out people: source, target and render, each row with its label. After
# `smoke` they are blurred ovals.

# %%
show_best_images(study, plan.folder)

# %% [markdown]
# **Final training and export.** The best trial, trained for `final_epochs` where that is asked for (run again to resume), in one folder to hand on and cite: checkpoint, configuration, report, origin, checksums. With studies on Drive it lies on Drive.

# %%
plan.export(None if smoke else final_epochs)

# %% [markdown]
# **Which parameters mattered**, from four trials on. With few trials this is a hint, not a finding.

# %%
show_figures(study, ["importances", "parallel_coordinate"])
