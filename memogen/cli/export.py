"""The command that exports a model: as ONNX files, as a page that draws by itself, or to the hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from memogen.cli.files import find_model, open_model
from memogen.cli.options import Model
from memogen.errors import InputError


def export(
    model: Model,
    *,
    to: Annotated[
        Literal["onnx", "html", "hub"],
        "onnx: files for other programs; html: one page that draws in a browser, offline; hub: the Hugging Face hub",
    ],
    out: Annotated[Path | None, "the folder of the ONNX files, or the page; default: NAME_onnx or NAME.html in the current folder"] = None,
    repo: Annotated[str | None, "with --to hub: the repository, org/name; it is made if it does not exist"] = None,
    private: Annotated[bool, "with --to hub: make a new repository private"] = False,
) -> None:
    """Export a model: as ONNX files, as one page that draws in a browser, or to the Hugging Face hub."""
    if to == "hub" and (repo is None or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repo)):
        raise InputError(f"--repo{'' if repo is None else ' ' + repo}: say where on the hub, as --repo org/name")
    if to == "hub" and out is not None:
        raise InputError(f"--out {out}: the hub takes --repo org/name; leave --out out")
    if to != "hub" and (repo is not None or private):
        raise InputError(f"{'--private' if repo is None else '--repo'}: is for the hub; give --to hub, or leave it out")
    if to == "html" and out is not None and (out.suffix.lower() not in (".html", ".htm") or out.is_dir()):
        raise InputError(f"--out {out}: cannot become a page; name a file that ends with .html")
    if to == "onnx" and out is not None and out.suffix.lower() == ".onnx":
        raise InputError(f"--out {out}: a model makes several ONNX files; name a folder for them")
    opened: Any = open_model(model)
    path = Path(find_model(model)) / "README.md"
    card = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    if to == "hub":
        from memogen.pretrained import push_to_hub

        assert repo is not None
        print(push_to_hub(opened, repo, private=private, card=card or None))
        return
    from memogen import shipped
    from memogen.export import write_html, write_onnx
    from memogen.export.html import PageFacts

    place = shipped.place(model)
    known = shipped.shipped_models().get(place.name)
    about = known.about if known is not None and known.folder == place else ""
    folder = place.resolve()
    name = model if not place.is_dir() else folder.parent.name if folder.name == "model" else folder.name
    names = shipped.stored_names(place) or shipped.stored_names(place.parent)
    target = out or Path(f"{Path(name).name}{'_onnx' if to == 'onnx' else '.html'}")
    if to == "html":
        page = write_html(opened, target, PageFacts(name, about, card, names))
        print(f"{page}: {page.stat().st_size / 1e6:.1f} MB; open it in a browser, or send it")
        return
    for file, apart in write_onnx(opened, target, names=names).items():
        print(f"{target / file}: {(target / file).stat().st_size / 1e6:.1f} MB, within {apart:.1g} of torch")
    print(f"{target / 'README.md'}: what goes in, what comes out, and how to draw")
