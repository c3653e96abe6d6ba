"""Everything that a worker of a study imports: the process that workers are forked from imports this module once."""

import gc

import gazegaussian.build
import helpers.study.workers.local
import helpers.study.workers.worker

__all__ = ["gazegaussian", "helpers"]

gc.freeze()  # a collection in a worker would write to, and so copy, the pages that all share
