"""Scores of generated images: one metric per file, and :func:`evaluate`, which runs them over one stream of samples."""

from memogen.evaluation.copies import nearest_images
from memogen.evaluation.copy_check import CopyCheck, copy_check
from memogen.evaluation.evaluate import METRICS, Interrupted, ScoreConfig, ScoreEvaluator, ScoringError, append_rows, evaluate, score_images
from memogen.evaluation.extractors import ModuleExtractor
from memogen.evaluation.features import Classifier, Extractor, classifier, extractor
from memogen.evaluation.fid import FeatureStatistics, frechet_distance
from memogen.evaluation.inception_score import InceptionScore
from memogen.evaluation.kid import kernel_distance
from memogen.evaluation.prdc import prdc
from memogen.evaluation.processes import Processes
from memogen.evaluation.resizing import ImageInput

__all__ = [
    "METRICS",
    "Classifier",
    "CopyCheck",
    "Extractor",
    "FeatureStatistics",
    "ImageInput",
    "InceptionScore",
    "Interrupted",
    "ModuleExtractor",
    "Processes",
    "ScoreConfig",
    "ScoreEvaluator",
    "ScoringError",
    "append_rows",
    "classifier",
    "copy_check",
    "evaluate",
    "extractor",
    "frechet_distance",
    "kernel_distance",
    "nearest_images",
    "prdc",
    "score_images",
]
