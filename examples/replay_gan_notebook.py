"""Memory Replay GANs as a notebook: ``marimo edit examples/replay_gan_notebook.py``, or as a script: ``python examples/replay_gan_notebook.py``."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(app_title="Memory Replay GANs")

with app.setup:
    from pathlib import Path

    import marimo as mo
    import torch

    import memogen
    from memogen.metrics.accuracy import ClassJudge
    from memogen.metrics.extractors import extractor
    from memogen.report import figures, grid, tasks
    from memogen.report.history import read_run
    from memogen.report.text import in_columns


@app.cell
def _():
    model_name = "mnist-replay"  # a Memory Replay GAN: a name that `memogen models` lists, or a run folder
    judge = "mnist"  # the classifier of its data
    steps = 150  # of each digit, in the trainings below
    out = "runs/notebook"
    return judge, model_name, out, steps


@app.cell(hide_code=True)
def _():
    mo.md("""
    # A generator that replays what it learned

    Train a network on zeros, then on ones, and it forgets the zeros. A Memory Replay GAN (Wu et al., NeurIPS 2018) learns one
    category after another and keeps no old images. Before each task it copies its generator. The frozen copy draws the earlier
    categories, and these *replays* stand in for their images.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.mermaid("""
    graph LR
      new["images of the new digit"] --> critic
      copy["frozen copy of the generator"] -- "replays of earlier digits" --> critic
      noise["noise and digit"] --> generator
      generator -- "all digits so far" --> critic
    """)
    return


@app.cell
def _(model_name):
    torch.set_num_threads(1)  # as fast for networks this small
    model = memogen.from_pretrained(model_name)
    order = sorted(model.known, key=lambda label: int(model.learned[label]))
    drawn = [figures.draw_samples(model, 12, label=label) for label in order]
    return drawn, model, order


@app.cell(hide_code=True)
def _(model_name, order):
    mo.md(f"""
    ## What `{model_name}` remembers

    It learned {len(order)} digits in this order, each from images of that digit alone. The percentage is the share of 100 samples that
    a classifier recognises as the digit.
    """)
    return


@app.cell
def _(drawn, judge, model, order):
    scores = ClassJudge(extractor(judge, image_shape=model.config.image_shape)).scores(model, order, 100)
    grid.sheet(drawn, [f"{model.config.name(score.label)}   {score.accuracy:.0%}" for score in scores])
    return


@app.cell(hide_code=True)
def _(steps):
    ways = {"replays join the training": "joint_replay_mean", "replays hold the generator in place": "replay_alignment"}
    digits = mo.ui.slider(2, 5, value=3, label="digits", show_value=True)
    way = mo.ui.dropdown(ways, value="replays join the training", label="how")
    knobs = mo.md("{digits} {way}").batch(digits=digits, way=way).form(submit_button_label="Train")
    mo.md(f"""
    ## With replay and without

    Learn small digits one after another, {steps} iterations each, then the same without replay: less than a minute together. Both share
    the first digit.

    {knobs}
    """)
    return (knobs,)


@app.function
def trained(variant: str, folder: Path, steps: int, digits: int, start: Path | None = None) -> Path:
    """The run folder of a training on the embedded digits; one that is there already is used again. ``start`` shares its first digit."""
    short = {
        "training.steps": steps,
        "training.sample_every": 0,
        "succession.tasks.num_tasks": digits,
        "training.ema_decay": 0.98,
        "objective.game.steps": 2,
        "model.width": 16,
        "scoring.num_samples": 300,
        "scoring.metrics": ["accuracy"],
    }
    with mo.status.spinner(f"training {folder.name}"):
        return memogen.train("replay_gan/digits", variant=variant, overrides=short, out=folder, start=start, console=False)


@app.cell
def _(knobs, out, steps):
    chosen = knobs.value or {"digits": 3, "way": "joint_replay_mean"}
    folder = Path(out) / f"digits-{chosen['digits']}-tasks-{steps}"
    with_replay = trained(chosen["way"], folder / chosen["way"], steps, chosen["digits"])
    without = trained("fine_tuning", folder / "fine_tuning", steps, chosen["digits"], start=with_replay)
    return with_replay, without


@app.cell(hide_code=True)
def _():
    mo.md("""
    A row of the chart is the state after a task, a column is a digit; the number is the share of its samples that the classifier
    recognises. Below it, samples of the first digit after each task, always from the same latents.
    """)
    return


@app.cell
def _(with_replay, without):
    runs = {"with replay": read_run(with_replay), "without replay": read_run(without)}
    if not mo.running_in_notebook():
        for title, run in runs.items():
            print(f"{title}\n{in_columns(tasks.matrix_rows(tasks.class_matrix(run)), right=1)}")
    columns = [
        mo.vstack([mo.md(title), tasks.matrix_chart(tasks.class_matrix(run)), tasks.evolution_sheet(run, ends=True)]) for title, run in runs.items()
    ]
    mo.hstack(columns, justify="start")
    return


if __name__ == "__main__":
    app.run()
