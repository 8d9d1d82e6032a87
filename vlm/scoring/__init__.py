"""Scores of answers by each benchmark's own rule, in [0, 1]; an answer that cannot be read is reported as unparsed."""

from vlm.scoring.scorers import SCORERS, Scored, choice_labels, score
from vlm.scoring.single_forward import label_probabilities, letter_probabilities

__all__ = ["SCORERS", "Scored", "choice_labels", "label_probabilities", "letter_probabilities", "score"]
