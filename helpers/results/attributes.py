"""Names of every attribute that this program stores with studies and trials, once."""

from __future__ import annotations

# Attributes of the study.
FINGERPRINT = "fingerprint"
STAGE = "stage"
METRIC = "metric"
CONFIG = "config"
STOP_REASON = "stop_reason"
STOP_KIND = "stop_kind"  # a `StopKind`
MESHHEAD_SHA256 = "meshhead_sha256"
INIT_FROM = "init_from_sha256"
WANTED = "trials_wanted"  # finished trials that the last call was to reach
ENVIRONMENT = "environment"
PEOPLE = "people"  # {train, val, test}: file names; absent for synthetic heads, None for a folder of another format
SAMPLER_SEED = "sampler_seed"
EARLIER_SEARCHES = "earlier_searches"  # list: sampler, seed and pruner before a change, and the first trial after it
SAMPLER = "sampler"
PRUNER = "pruner"

# User attributes of trials.
OWNER = "owner"
RESUME_OF = "resume_of"
REASON = "fail_reason"
BASELINE = "baseline"
BEAT = "beat"  # counts while the owner lives
SECONDS = "seconds"  # of the whole trial, earlier processes included
EPOCHS = "epochs"  # trained so far, where nothing is reported (several objectives)
INHERITED = "inherited"  # {epochs, seconds} that earlier processes spent and that are counted there
HARDWARE = "hardware"  # {precision, device, driver} of the last process that trained it
LOST = "its process ended in the middle of the trial"
GRANTED = "granted"  # user attribute of trials: epochs that the owner may have trained in the end, with inherited ones
