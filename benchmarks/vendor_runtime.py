"""Makes memogen/export/vendor anew: ``python -m benchmarks.vendor_runtime``, run where memogen/ lies, with npm and the extra ``onnx`` installed.

The files are those of the npm package, byte for byte, packed by lzma, which leaves a third less of them than gzip. A package or a file with
another digest than before is refused, unless ``--version`` asks for another version, whose digests are then written down. The licence and the
notices come from the Python package of the same project.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import subprocess
import tarfile
import tempfile
from importlib.metadata import distribution
from pathlib import Path

FOLDER = Path("memogen/export/vendor")
PACKAGE = "onnxruntime-web"
FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
TEXTS = {"LICENSE": "LICENSE", "ThirdPartyNotices.txt": "ThirdPartyNotices.txt.xz"}


def vendor(version: str | None = None, *, package: Path | None = None) -> None:
    """Fetch the package (or take the file ``package``), check it, and write the folder. Raises ValueError for another digest than that on record."""
    record_file = FOLDER / "runtime.json"
    known = json.loads(record_file.read_text(encoding="utf-8")) if record_file.is_file() else {}
    wanted = version or known["version"]
    with tempfile.TemporaryDirectory() as folder:
        packed = (package or _fetch(wanted, Path(folder))).read_bytes()
        record = {"package": PACKAGE, "version": wanted, "licence": "MIT", "sha256": _digest(packed), "files": {}}
        place = Path(folder) / "package.tgz"
        place.write_bytes(packed)
        with tarfile.open(place) as archive:
            found = {name: _member(archive, f"package/dist/{name}") for name in FILES}
    record["files"] = {name: _digest(data) for name, data in found.items()}
    if known.get("version") == wanted and record != known:
        raise ValueError(f"{PACKAGE} {wanted}: its digest is not the one in {record_file}: {record['sha256']}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, data in found.items():
        (FOLDER / f"{name}.xz").write_bytes(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))
    home = Path(str(distribution("onnxruntime").locate_file("onnxruntime")))
    for source, name in TEXTS.items():
        data = (home / source).read_bytes()
        (FOLDER / name).write_bytes(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME) if name.endswith(".xz") else data)
    record_file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _fetch(version: str, folder: Path) -> Path:
    done = subprocess.run(["npm", "pack", "--silent", f"{PACKAGE}@{version}"], cwd=folder, check=True, capture_output=True, text=True)
    return folder / done.stdout.split()[-1]


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise ValueError(f"{PACKAGE}: holds no {name}")
    return file.read()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", help="another version of the package than the one on record")
    parser.add_argument("--package", type=Path, help="the package's file, where it lies here already")
    given = parser.parse_args()
    vendor(given.version, package=given.package)
