"""memoryGAN as a notebook: ``marimo edit examples/memory_gan_notebook.py``, or as a script: ``python examples/memory_gan_notebook.py``."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(app_title="memoryGAN")

with app.setup:
    from pathlib import Path

    import marimo as mo
    import torch

    import memogen
    from memogen.metrics.slots import name_slots, placed, slots_beside_pixels
    from memogen.report import figures, memory_gan
    from memogen.report.history import read_rows


@app.cell
def _():
    model_name = "digits"  # a memoryGAN of the embedded digits: a name that `memogen models` lists, or a run folder
    steps = 600  # of each training below
    out = "runs/notebook"
    return model_name, out, steps


@app.cell(hide_code=True)
def _():
    mo.md("""
    # A GAN that sorts what it sees

    A memoryGAN (Kim, Kim and Kim, ICLR 2018) has a memory of slots, each a direction on a sphere. The critic maps an image to a point
    on that sphere, its *query*. The slots near it say whether the image is real, and then move towards it. The generator draws an
    image from a query near a slot. No label is used, yet each slot comes to hold images of one kind.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.mermaid("""
    graph LR
      real[real image] --> critic
      fake[generated image] --> critic
      critic -- query --> memory[("memory: slots on a sphere")]
      memory --> answer["real or generated?"]
      memory -- "query drawn around a slot" --> generator
      noise --> generator
      generator --> fake
    """)
    return


@app.cell
def _(model_name):
    torch.set_num_threads(1)  # as fast for networks this small
    model = memogen.from_pretrained(model_name)
    train, test = memogen.load_data("digits"), memogen.load_data("digits", split="test")
    figures.sample_grid(model, 64, columns=16)
    return model, test, train


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## What a slot holds

    A row shows images drawn from one slot, a column images with the same noise. A slot is named after the most frequent class of its
    training images, with their share.
    """)
    return


@app.cell
def _(model, train):
    names = name_slots(placed(model, train), model.memory.num_slots)
    memory_gan.slot_sheet(model, names=names, num_slots=8)
    return (names,)


@app.cell(hide_code=True)
def _(test):
    number = mo.ui.slider(0, len(test) - 1, value=0, label="test image", show_value=True, debounce=True)
    mo.md(f"""
    ## Where an image belongs

    The posterior of the slots, given an image that was not in the training set. Under each bar is an image drawn from that slot.

    {number}
    """)
    return (number,)


@app.cell
def _(model, names, number, test):
    memory_gan.posterior(model, torch.tensor(test.image[number.value]), names=names)
    return


@app.cell(hide_code=True)
def _(steps):
    knob = mo.ui.slider(steps=[16, 32, 64, 128, 256, 512], value=64, label="slots", show_value=True).form(submit_button_label="Train")
    mo.md(f"""
    ## How many slots?

    Train a small one for {steps:,} steps, and a plain GAN with as many parameters: less than a minute together. The slots are
    compared with k-means on pixels, with as many clusters.

    {knob}
    """)
    return (knob,)


@app.function
def trained(variant: str, folder: Path, steps: int, options: dict[str, object]) -> Path:
    """The run folder of a training on the digits; one that is there already is used again."""
    short = {"training.steps": steps, "training.sample_every": 0, "scoring.num_samples": 1000, "scoring.metrics": ["is", "fid"]}
    with mo.status.spinner(f"training {folder.name}"):
        return memogen.train("memory_gan/digits", variant=variant, overrides={**short, **options}, out=folder, console=False)


@app.cell
def _(knob, out, steps):
    num_slots = knob.value or 64
    options = {"model.memory.num_slots": num_slots, "model.memory.top_k": min(64, num_slots)}
    with_memory = trained("memory_gan", Path(out) / f"digits-{num_slots}-slots-{steps}", steps, options)
    without = trained("no_memory", Path(out) / f"digits-no-memory-{steps}", steps, {})
    return num_slots, with_memory, without


@app.function
def scores(run: Path) -> str:
    """Inception score and Fréchet distance, as two cells of a table."""
    found = {row.metric: row.value for row in read_rows(run / "results.jsonl") if row.variant != "real"}
    return f"{found['inception_score']:.2f} | {found['fid']:.2f}"


@app.cell
def _(num_slots, test, train, with_memory, without):
    small, plain = memogen.from_pretrained(with_memory), memogen.from_pretrained(without)
    slots, pixels = slots_beside_pixels(placed(small, train), placed(small, test))
    table = f"""
| | inception score | Fréchet distance | test images of their cluster's class |
|---|---|---|---|
| memoryGAN, {num_slots} slots | {scores(with_memory)} | {slots.told.value:.1%} |
| plain GAN; k-means on pixels | {scores(without)} | {pixels.told.value:.1%} |
"""
    if not mo.running_in_notebook():
        print(table)
    grids = (mo.vstack([mo.md(title), figures.sample_grid(each, 64)]) for title, each in (("memoryGAN", small), ("plain GAN", plain)))
    mo.vstack([mo.md(table), mo.hstack(grids, justify="start")])
    return


if __name__ == "__main__":
    app.run()
