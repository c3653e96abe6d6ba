"""Where study files of earlier versions name the pruner (`helpers.predicted_final_loss.PredictedFinalLossPruner`)."""

from helpers.search.predicted_final_loss import PredictedFinalLossPruner

__all__ = ["PredictedFinalLossPruner"]
