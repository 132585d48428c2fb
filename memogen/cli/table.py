"""The table of commands: the words on the command line and the function that runs them."""

from __future__ import annotations

from collections.abc import Callable

from memogen.cli import data, edit, explore, export, memory, novelty, pictures, results, scoring, tasks, training

COMMANDS: dict[str, Callable[..., object]] = {
    "demo": training.demo,
    "train": training.train,
    "recipes": training.recipes,
    "models": training.models,
    "sample": pictures.sample,
    "interpolate": pictures.interpolate,
    "neighbours": pictures.neighbours,
    "impute": pictures.impute,
    "evaluate": scoring.evaluate,
    "compare": results.compare,
    "novelty": novelty.novelty,
    "report": results.report,
    "reproduce": results.reproduce,
    "explore": explore.explore,
    "export": export.export,
    "extend": tasks.extend,
    "memory usage": memory.usage,
    "memory slots": memory.slots,
    "memory posterior": memory.posterior,
    "memory clusters": memory.clusters,
    "memory query": memory.query,
    "memory graph": memory.graph,
    "memory disable": memory.disable,
    "memory course": memory.course,
    "memory signs": memory.signs,
    "memory forget": edit.forget,
    "memory freeze": edit.freeze,
    "memory add": edit.add,
    "tasks matrix": tasks.matrix,
    "tasks evolution": tasks.evolution,
    "tasks embedding": tasks.embedding,
    "tasks samples": tasks.samples,
    "tasks cost": tasks.cost,
    "data list": data.show,
    "data check": data.check,
    "data prepare": data.prepare,
}
