"""MEM-VAE as a notebook: ``marimo edit examples/mem_vae_notebook.py``, or as a script: ``python examples/mem_vae_notebook.py``."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(app_title="MEM-VAE")

with app.setup:
    from dataclasses import replace
    from pathlib import Path

    import marimo as mo
    import torch

    import memogen
    from memogen.metrics.imputation import complete, imputation_error
    from memogen.metrics.slot_contents import slot_preferences
    from memogen.report import figures, grid, mem_vae
    from memogen.report.history import read_rows
    from memogen.types import to_uint8


@app.cell
def _():
    model_name = "digits-vae"  # a MEM-VAE of the embedded digits: a name that `memogen models` lists, or a run folder
    steps = 1400  # of each training below
    out = "runs/notebook"
    return model_name, out, steps


@app.cell(hide_code=True)
def _():
    mo.md("""
    # A decoder that looks things up

    A variational autoencoder squeezes an image into a few latent numbers and loses detail. In a MEM-VAE (Li, Zhu and Zhang, ICML
    2016) every layer of the decoder reads a memory of trainable *slots* by attention, and mixes the answer into its output. The
    slots hold detail, so that the latents need not.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.mermaid("""
    graph LR
      image --> encoder
      encoder -- latents --> upper[decoder, layer 1]
      upper --> lower[decoder, layer 0]
      lower --> again[image]
      slots1[("10 slots")] -- answer --> upper
      slots0[("20 slots")] -- answer --> lower
    """)
    return


@app.cell
def _(model_name):
    torch.set_num_threads(1)  # as fast for networks this small
    model = memogen.from_pretrained(model_name)
    test = memogen.load_data("digits", split="test")
    first = replace(test, image=test.image[:16], label=test.label[:16])
    figures.sample_grid(model, 64, columns=16)
    return first, model, test


@app.cell(hide_code=True)
def _():
    mo.md("""
    ## What the memory adds

    The same samples with the memory, and with its answer replaced by ones.
    """)
    return


@app.cell
def _(model):
    mem_vae.disabled_sheet(model, 16)
    return


@app.cell(hide_code=True)
def _():
    mo.md("""
    Which slots the images of a digit use, in the layer next to the pixels: the darker, the larger the share. Training used no
    label.
    """)
    return


@app.cell
def _(model, test):
    wanted = slot_preferences(model, test)
    mem_vae.preference_map(wanted.layer(0), wanted.classes)
    return


@app.cell(hide_code=True)
def _():
    masks = {"left half": "half", "square in the middle": "rect-4", "60 % of all pixels": "rand-0.6"}
    mask = mo.ui.dropdown(masks, value="left half", label="missing")
    mo.md(f"""
    ## Missing pixels

    The missing pixels start as noise. A hundred times the model encodes and decodes the image, and the missing pixels are replaced by
    its output.

    {mask}
    """)
    return (mask,)


@app.cell
def _(first, mask, model):
    mem_vae.imputation_sheet(complete(model, first, mask.value), model.image_range)
    return


@app.cell(hide_code=True)
def _(steps):
    slider = mo.ui.slider(steps=[2, 5, 10, 20, 40, 80], value=20, label="slots in the layer next to the pixels", show_value=True)
    knob = slider.form(submit_button_label="Train")
    mo.md(f"""
    ## With memory and without

    Train one for {steps:,} steps, and a VAE with wider layers instead of a memory: half a minute together.
    On digits as small as these the memory gains nothing; on MNIST it gains about a nat (docs/results/mem_vae.md).

    {knob}
    """)
    return (knob,)


@app.function
def trained(variant: str, folder: Path, steps: int, options: dict[str, object]) -> Path:
    """The run folder of a training on the digits; one that is there already is used again."""
    short = {"training.steps": steps, "training.sample_every": 0, "scoring.likelihood_every": 0, "scoring.model.importance_samples": 100}
    with mo.status.spinner(f"training {folder.name}"):
        return memogen.train("mem_vae/digits", variant=variant, overrides={**short, **options}, out=folder, console=False)


@app.cell
def _(knob, out, steps):
    num_slots = knob.value or 20
    with_memory = trained("mem_vae", Path(out) / f"digits-vae-{num_slots}-slots-{steps}", steps, {"model.memory.slots": [num_slots, 10]})
    without = trained("vae", Path(out) / f"digits-vae-no-memory-{steps}", steps, {"model.hidden": [112, 112]})
    return num_slots, with_memory, without


@app.function
def compared(run: Path, test: memogen.ImageData) -> str:
    """Parameters, log-likelihood and error of imputation, as three cells of a table."""
    row = next(row for row in read_rows(run / "results.jsonl") if row.metric == "log_likelihood")
    error = imputation_error(memogen.from_pretrained(run), test, "half").value
    return f"{sum(row.parameters.values()):,} | {row.value:.2f} | {error:.4f}"


@app.cell
def _(first, num_slots, test, with_memory, without):
    table = f"""
| | parameters | log-likelihood of test images, nats | error of missing left halves |
|---|---|---|---|
| MEM-VAE, {num_slots} and 10 slots | {compared(with_memory, test)} |
| VAE | {compared(without, test)} |
"""
    if not mo.running_in_notebook():
        print(table)
    models = [memogen.from_pretrained(run) for run in (with_memory, without)]
    filled = [to_uint8(complete(each, first, "half").images, each.image_range) for each in models]
    captions = ["test images", "left halves filled in by the MEM-VAE", "left halves filled in by the VAE"]
    mo.vstack([mo.md(table), grid.sheet([torch.tensor(first.image), *filled], captions)])
    return


if __name__ == "__main__":
    app.run()
