"""The table of commands: the words on the command line and the function that answers them."""

from __future__ import annotations

from collections.abc import Callable

from memogen.cli import compare, data, edit, explore, export, impute, memory, novelty, pictures, reproduce, scoring, tasks, training

COMMANDS: dict[str, Callable[..., object]] = {
    "demo": training.demo,
    "train": training.train,
    "recipes": training.recipes,
    "models": training.models,
    "sample": pictures.sample,
    "evaluate": scoring.evaluate,
    "compare": compare.compare,
    "impute": impute.impute,
    "novelty": novelty.novelty,
    "interpolate": pictures.interpolate,
    "export": export.export,
    "neighbours": pictures.neighbours,
    "memory usage": memory.usage,
    "memory slots": memory.slots,
    "memory posterior": memory.posterior,
    "memory clusters": memory.clusters,
    "memory query": memory.query,
    "memory graph": memory.graph,
    "memory disable": memory.disable,
    "memory forget": edit.forget,
    "memory freeze": edit.freeze,
    "memory add": edit.add,
    "memory course": memory.course,
    "memory signs": memory.signs,
    "tasks matrix": tasks.matrix,
    "tasks evolution": tasks.evolution,
    "tasks embedding": tasks.embedding,
    "tasks samples": tasks.samples,
    "tasks cost": tasks.cost,
    "explore": explore.explore,
    "extend": tasks.extend,
    "reproduce": reproduce.reproduce,
    "report": scoring.report,
    "data list": data.show,
    "data check": data.check,
    "data prepare": data.prepare,
}
