"""The command that hands a model on: as ONNX files, as a page that draws by itself, or to the hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from memogen.cli.files import find_model, open_model
from memogen.cli.options import UsageError
from memogen.cli.pictures import Model

if TYPE_CHECKING:
    from memogen.export.html import PageFacts


def export(
    model: Model,
    *,
    to: Annotated[
        Literal["onnx", "html", "hub"], "onnx, files for other programs; html, one page that draws in a browser, offline; hub, the Hugging Face hub"
    ],
    out: Annotated[Path | None, "the folder of the ONNX files, or the page; without it NAME_onnx or NAME.html in this folder"] = None,
    repo: Annotated[str | None, "the repository on the hub, org/name; it is made if it does not exist"] = None,
    private: Annotated[bool, "make a new repository on the hub private"] = False,
) -> None:
    """Hand a model on: as ONNX files, as one page that draws in a browser, or to the hub."""
    _check(to, out, repo, private)
    opened = open_model(model)
    if to == "hub":
        from memogen.pretrained import push_to_hub

        assert repo is not None
        print(push_to_hub(opened, repo, private=private, card=_card(model) or None))  # type: ignore[arg-type]  # every saved model is a module
        return
    facts = _page_facts(model)
    place = out or Path(f"{Path(facts.name).name}{'_onnx' if to == 'onnx' else '.html'}")
    if to == "html":
        from memogen.export import write_html

        page = write_html(opened, place, facts)
        print(f"{page}: {page.stat().st_size / 1e6:.1f} MB; open it in a browser, or send it")
        return
    from memogen.export import write_onnx

    for name, apart in write_onnx(opened, place, names=facts.names).items():
        print(f"{place / name}: {(place / name).stat().st_size / 1e6:.1f} MB, within {apart:.1g} of torch")
    print(f"{place / 'README.md'}: what goes in, what comes out, and how to draw")


def _check(to: str, out: Path | None, repo: str | None, private: bool) -> None:
    """Refuse options that do not belong together, before anything is loaded."""
    if to == "hub":
        if repo is None or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repo):
            raise UsageError(f"--repo{'' if repo is None else ' ' + repo}: say where on the hub, as --repo org/name")
        if out is not None:
            raise UsageError(f"--out {out}: the hub takes --repo org/name; leave --out out")
        return
    for option, given in (("--repo", repo is not None), ("--private", private)):
        if given:
            raise UsageError(f"{option}: is for the hub; give --to hub, or leave it out")
    if to == "html" and out is not None and (out.suffix.lower() not in (".html", ".htm") or out.is_dir()):
        raise UsageError(f"--out {out}: cannot become a page; name a file that ends with .html")
    if to == "onnx" and out is not None and out.suffix.lower() == ".onnx":
        raise UsageError(f"--out {out}: a model makes several ONNX files; name a folder for them")


def _page_facts(model: str) -> PageFacts:
    """What lies beside a model: its name, what it is, its card and the names of its slots."""
    from memogen import shipped
    from memogen.export.html import PageFacts

    place = shipped.place(model)
    known = shipped.shipped_models().get(place.name)
    ships = known is not None and known.folder == place
    path = place.resolve() if place.is_dir() else place
    name = model if not place.is_dir() else path.parent.name if path.name == "model" else path.name
    names = next((found for folder in (place, place.parent) if (found := shipped.stored_names(folder)) is not None), None)
    return PageFacts(name, known.about if known is not None and ships else "", _card(model), names)


def _card(model: str) -> str:
    """README.md of a saved model; empty where there is none."""
    path = Path(find_model(model)) / "README.md"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
