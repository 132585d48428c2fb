"""Small subjects of every family for the explorer, and a server in a thread that shows one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
import torch
import uvicorn
from PIL import Image
from starlette.testclient import TestClient

from memogen.data import DataOptions
from memogen.explorer.app import build
from memogen.explorer.loaded import LoadedModel
from memogen.explorer.pictures import Pictures
from memogen.explorer.server import bind
from memogen.explorer.session import Session
from memogen.models import ReplayGANConfig
from memogen.types import ImageData
from tests.models import mem_vae
from tests.report import toy

VAE = mem_vae.replace(mem_vae.SMALL, image_shape=(1, 8, 8))


def replay() -> Any:
    """A replay GAN that has learned three of its five classes."""
    torch.manual_seed(0)
    model = ReplayGANConfig(image_shape=(3, 8, 8), width=4, noise_dim=6, num_classes=5, classes=("ant", "bee", "cow")).build()
    model.begin_task(0, [0, 1])
    model.begin_task(1, [2])
    model.calibrate()
    return model.eval()


MODELS = {
    "mixture": lambda: toy.model(),
    "colour": lambda: toy.model(channels=3),
    "untold": lambda: toy.model(conditional=False),
    "plain": lambda: toy.model(memory=False),
    "mem_vae": lambda: mem_vae.built(VAE),
    "conditional_vae": lambda: mem_vae.built(mem_vae.replace(VAE, num_classes=3)),
    "vae": lambda: mem_vae.built(mem_vae.replace(mem_vae.PLAIN, image_shape=(1, 8, 8))),
    "replay": replay,
}


def data(num: int = 60) -> ImageData:
    """Labelled images of the toys' shape."""
    images = toy.images(num)
    return ImageData(images.image, np.arange(num) % 3, ("ant", "bee", "cow"), name="toys")


def session(kind: str = "mixture", **fields: Any) -> Session:
    """One that looks at the model of that kind."""
    torch.manual_seed(0)
    loaded = LoadedModel(kind, MODELS[kind](), **fields)
    return Session(loaded, Pictures(loaded.shape, lambda: DataOptions(size=(8, 8), fit="resize", channels=loaded.shape[0])))  # type: ignore[arg-type]


def opened(found: Session) -> Future[Session]:
    """A session that need not be waited for."""
    future: Future[Session] = Future()
    future.set_result(found)
    return future


def client(looked: Session, host: str = "127.0.0.1") -> TestClient:
    """What asks without a browser."""
    return TestClient(build(opened(looked), host), base_url="http://127.0.0.1:8000", raise_server_exceptions=True)


def looked_at(found: Session) -> None:
    """Wait until the data have been read."""
    found.look()
    while found.looking:
        time.sleep(0.01)


def png(size: tuple[int, int] = (20, 12), mode: str = "RGB", kind: str = "PNG") -> bytes:
    """A picture's file."""
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], len(mode)), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, kind)
    return file.getvalue()


@contextmanager
def shown(found: Session) -> Iterator[str]:
    """The address of a server that shows a session."""
    listening = bind("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(build(opened(found)), log_level="critical", ws="none", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()
