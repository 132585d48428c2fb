"""Scores of generated images: one metric per file, and :func:`evaluate`, which runs them over the same samples.

:data:`METRICS` lists them. A new one is a file here and a line in ``registry.py``.
"""

from memogen.metrics.classifiers import Classifier, classifier
from memogen.metrics.copies import CopyCheck, copy_check, nearest_images
from memogen.metrics.evaluate import ScoreConfig, ScoreEvaluator, evaluate, score_images, score_model
from memogen.metrics.extractors import Extractor, ModuleExtractor, extractor
from memogen.metrics.fid import FeatureStatistics, frechet_distance
from memogen.metrics.image_input import ImageInput
from memogen.metrics.inception_score import InceptionScore
from memogen.metrics.kid import kernel_distance
from memogen.metrics.metric import Asked, Metric, ModelScoring, Number, Result
from memogen.metrics.novelty import auroc
from memogen.metrics.prdc import prdc
from memogen.metrics.registry import METRICS
from memogen.metrics.rows import Interrupted, ScoringError, append_rows
from memogen.processes import Processes

__all__ = [
    "METRICS",
    "Asked",
    "Classifier",
    "CopyCheck",
    "Extractor",
    "FeatureStatistics",
    "ImageInput",
    "InceptionScore",
    "Interrupted",
    "Metric",
    "ModelScoring",
    "ModuleExtractor",
    "Number",
    "Processes",
    "Result",
    "ScoreConfig",
    "ScoreEvaluator",
    "ScoringError",
    "append_rows",
    "auroc",
    "classifier",
    "copy_check",
    "evaluate",
    "extractor",
    "frechet_distance",
    "kernel_distance",
    "nearest_images",
    "prdc",
    "score_images",
    "score_model",
]
