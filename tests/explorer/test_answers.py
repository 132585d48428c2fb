"""What the page's questions answer, for every family: pictures of the right size, and numbers that the memory itself gives."""

from __future__ import annotations

import base64
import copy
from typing import Any

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from memogen.memory import inspect
from memogen.report import figures
from memogen.types import Latents
from tests.explorer import toys


def pixels(images: dict[str, Any]) -> np.ndarray:
    """(n, h, w, c)."""
    shape = (images["num"], images["height"], images["width"], images["channels"])
    return np.frombuffer(base64.b64decode(images["bytes"]), np.uint8).reshape(shape)


def ask(client: TestClient, name: str, **fields: Any) -> dict[str, Any]:
    answer = client.post(f"/api/{name}", json=fields)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("kind", toys.MODELS)
def test_every_family_draws_samples_and_says_what_it_can_do(kind: str) -> None:
    session = toys.session(kind)
    client = toys.client(session)
    about = ask(client, "about")
    of = {"label": about["classes"][0]["label"]} if about["classes"] else {}
    first, again, other = (pixels(ask(client, "samples", num=5, seed=seed, **of)["images"]) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (5, 8, 8, session.loaded.shape[0]) and (first != other).any()
    assert about["mixture"] == (kind in ("mixture", "colour")) and about["fills"] == kind.endswith("vae")
    assert bool(about["layers"]) == (kind in ("mem_vae", "conditional_vae"))


def test_the_table_of_slots_is_that_of_the_memory() -> None:
    session = toys.session()
    table, memory = ask(toys.client(session), "slots"), session.original
    assert table["slot"] == (memory.values > 0.5).nonzero()[:, 0].tolist()
    np.testing.assert_allclose(table["prior"], inspect.prior(memory)[table["slot"]])
    np.testing.assert_allclose(table["mass"], memory.mass[table["slot"]], atol=1e-4)
    assert set(table["state"]) == {0} and set(table["label"]) == {-1}


def test_the_wall_shows_the_picture_of_each_key_under_one_noise() -> None:
    session = toys.session()
    wall = pixels(ask(toys.client(session), "wall", slots=[3, 0, 7], seed=4)["images"])
    model, slots = session.loaded.model, torch.tensor([3, 0, 7])
    wanted = figures.draw(model, Latents(model.latents(1, seed=4).noise.expand(3, -1), session.original.keys[slots], slots))
    np.testing.assert_array_equal(wall[..., 0], wanted[:, 0])


def test_labelled_data_name_the_slots_and_stand_beside_them() -> None:
    session = toys.session(data=toys.data)
    client = toys.client(session)
    toys.looked_at(session)
    table = ask(client, "slots")
    assert table["classes"] == ["ant", "bee", "cow"] and max(table["label"]) >= 0
    found = ask(client, "slot", slot=table["slot"][0])
    key, query = session.original.keys[table["slot"][0]], session.loaded.model.encode(torch.from_numpy(toys.data().image))  # type: ignore[attr-defined]
    np.testing.assert_allclose(found["nearest"]["cosine"], (query @ key).topk(6).values, atol=1e-5)
    assert pixels(found["nearest"]["images"]).shape == (6, 8, 8, 1)


def test_neighbours_are_those_of_key_space() -> None:
    session = toys.session()
    found = ask(toys.client(session), "slot", slot=5)["neighbours"]
    keys = session.original.keys[: session.original.num_slots // 2]
    cosine = (keys @ keys[5]).index_fill(0, torch.tensor([5]), -2).topk(6)
    assert found["slot"] == cosine.indices.tolist()
    np.testing.assert_allclose(found["cosine"], cosine.values, atol=1e-6)


def test_a_picture_belongs_to_the_slots_of_its_posterior() -> None:
    session = toys.session()
    client = toys.client(session)
    number = client.post("/api/upload", content=toys.png(), headers={"content-type": "image/png"}).json()["picture"]
    found = ask(client, "picture", picture=number, num=5)["belongs"]
    image = session.pictures.take([number])
    posterior = session.original.posterior(session.loaded.model.encode(image))[0]  # type: ignore[attr-defined]
    np.testing.assert_allclose(found["share"], posterior[found["slot"]], rtol=1e-4)
    assert sum(found["share"]) + found["other"] + found["fake"] == pytest.approx(1, abs=1e-5)
    assert found["share"] == sorted(found["share"], reverse=True)


def test_more_like_a_picture_comes_from_its_posterior_alone() -> None:
    session = toys.session()
    client = toys.client(session)
    number = ask(client, "sample", seed=3)["picture"]
    sharp = copy.deepcopy(session.original)
    sharp.concentration = 400.0
    session.loaded.model.memory = sharp  # type: ignore[attr-defined]
    drawn = ask(client, "picture", picture=number)["drawn"]
    likely = sharp.posterior(session.loaded.model.encode(session.pictures.take([number])))[0] > 1e-6  # type: ignore[attr-defined]
    assert set(drawn) <= set(likely.nonzero()[:, 0].tolist())


def test_the_square_has_its_slots_at_its_corners() -> None:
    session = toys.session()
    client, slots = toys.client(session), [0, 4, 9, 2]
    square = pixels(ask(client, "square", slots=slots, points=[[0, 0], [1, 0], [0, 1], [1, 1]], seed=6)["images"])
    np.testing.assert_allclose(square.astype(int), pixels(ask(client, "wall", slots=slots, seed=6)["images"]).astype(int), atol=1)


@pytest.mark.parametrize("kind", ["mixture", "plain", "mem_vae", "replay"])
def test_every_slider_moves_the_picture_and_at_rest_changes_nothing(kind: str) -> None:
    session = toys.session(kind)
    client = toys.client(session)
    about = ask(client, "about")
    where: dict[str, Any] = {"slots": [0, 4, 9, 2]} if kind == "mixture" else {"seeds": [1, 2, 3, 4]}
    where |= {"label": about["classes"][0]["label"]} if about["classes"] else {}
    rest = pixels(ask(client, "square", points=[[0.5, 0.5]], **where)["images"])
    number = about["directions"]
    assert 0 < number <= session.loaded.model.latents(1).noise.shape[1]
    for direction in range(number):
        moved = [0.0] * number
        np.testing.assert_array_equal(pixels(ask(client, "square", points=[[0.5, 0.5]], amounts=moved, **where)["images"]), rest)
        moved[direction] = 3.0
        assert (pixels(ask(client, "square", points=[[0.5, 0.5]], amounts=moved, **where)["images"]) != rest).any()


# --- trainable memories, classes ---


def test_a_layer_without_its_memory_draws_otherwise() -> None:
    client = toys.client(toys.session("mem_vae"))
    whole, without = (pixels(ask(client, "samples", num=4, without=layers)["images"]) for layers in ([], [0]))
    assert (whole != without).any()


@pytest.mark.parametrize("kind", ["mem_vae", "conditional_vae"])
def test_slots_of_layers_are_shown_with_who_asks_for_them(kind: str) -> None:
    session = toys.session(kind, data=toys.data)
    client = toys.client(session)
    toys.looked_at(session)
    for layer, count in enumerate(session.loaded.layers):
        table = ask(client, "slots", layer=layer)
        assert len(table["slot"]) == count and all(0 <= weight <= 1 for weight in table["weight"])
        assert pixels(ask(client, "wall", slots=table["slot"], layer=layer)["images"]).shape == (count, 8, 8, 1)
        asked = ask(client, "slot", slot=0, layer=layer)["askers"]
        assert asked["weight"] == sorted(asked["weight"], reverse=True)


@pytest.mark.parametrize("kind", ["mem_vae", "conditional_vae", "vae"])
def test_filling_in_changes_missing_pixels_alone(kind: str) -> None:
    session = toys.session(kind)
    client = toys.client(session)
    number = ask(client, "sample", seed=3, **({"label": 1} if kind.startswith("conditional") else {}))
    mask = "0" * 32 + "1" * 32
    found = ask(client, "fill", picture=number["picture"], mask=mask, steps=12, **({"label": 1} if kind.startswith("conditional") else {}))
    image, stages = pixels(number["images"])[0], pixels(found["images"])
    assert found["step"][0] == 0 and found["step"][-1] == 12 and len(stages) == len(found["step"])
    for stage in stages:
        np.testing.assert_allclose(stage[:4].astype(int), image[:4].astype(int), atol=1)
    assert (stages[-1][4:] != stages[0][4:]).any()


def test_a_replay_gan_shows_the_classes_that_it_knows() -> None:
    found = ask(toys.client(toys.session("replay")), "classes", num=4)
    assert found["name"] == ["ant", "bee", "cow"] and pixels(found["images"]).shape == (12, 8, 8, 3)


# --- edits ---


def test_a_slot_that_is_off_is_not_drawn_and_comes_back() -> None:
    session = toys.session()
    client = toys.client(session)
    heavy = int(np.argmax(ask(client, "slots")["prior"]))
    table = ask(client, "edit", what="off", slots=[heavy])
    assert table["prior"][heavy] == 0 and table["state"][heavy] == 1 and sum(table["prior"]) == pytest.approx(1)
    drawn = session.loaded.model.latents(500).slot
    assert drawn is not None and heavy not in drawn
    table = ask(client, "edit", what="on", slots=[heavy])
    assert set(table["state"]) == {0} and session.effective is session.original


def test_forgetting_and_adding_can_be_taken_back() -> None:
    session = toys.session()
    client = toys.client(session)
    before = ask(client, "slots")
    ask(client, "edit", what="forget", slots=[1, 2])
    number = client.post("/api/upload", content=toys.png(), headers={"content-type": "image/png"}).json()["picture"]
    table = ask(client, "edit", what="add", pictures=[number], share=0.4)
    assert table["slots"] == [1] and table["state"][:3] == [0, 3, 2] and table["prior"][1] == pytest.approx(0.4, rel=1e-4)
    assert ask(client, "picture", picture=number)["belongs"]["slot"][0] == 1
    assert ask(client, "edit", what="undo")["state"][:3] == [0, 2, 2]
    assert {**ask(client, "edit", what="undo"), "version": 0} == {**before, "version": 0, "undone": "forgot 2 slots"}
    assert client.post("/api/edit", json={"what": "undo"}).status_code == 409


def test_frozen_slots_are_told_and_saved(tmp_path: Any) -> None:
    from memogen.pretrained import from_pretrained
    from memogen.shipped import stored_names

    session = toys.session(data=toys.data, out=tmp_path / "edited")
    client = toys.client(session)
    toys.looked_at(session)
    table = ask(client, "edit", what="freeze", slots=[2, 5])
    assert [slot for slot, held in zip(table["slot"], table["frozen"], strict=True) if held] == [2, 5]
    assert ask(client, "edit", what="thaw", slots=[5])["steps"][1:] == ["froze 2 slots", "thawed slot 5"]
    ask(client, "edit", what="forget", slots=[1])
    assert client.post("/api/edit", json={"what": "freeze", "slots": [1]}).status_code == 409, "an empty slot holds nothing to keep"
    ask(client, "save")
    assert from_pretrained(tmp_path / "edited").memory.frozen.nonzero()[:, 0].tolist() == [2]
    names = stored_names(tmp_path / "edited")
    assert names is not None and session.names is not None and names.label[1] == -1 and names.label[2] == session.names.label[2]
    assert not any(ask(client, "edit", what="reset")["frozen"])


def test_edits_of_one_tab_are_shown_in_all() -> None:
    session = toys.session()
    one, other = toys.client(session), toys.client(session)
    version = ask(other, "state")["version"]
    ask(one, "edit", what="off", slots=[4])
    assert ask(other, "state")["version"] != version and ask(other, "slots")["state"][4] == 1


def test_before_and_after_differ_by_the_edits_alone() -> None:
    client = toys.client(toys.session())
    same = ask(client, "compare", num=12)
    assert same["before"] == same["after"]
    ask(client, "edit", what="off", slots=list(range(20)))
    edited = ask(client, "compare", num=12)
    assert edited["before"] == same["before"] and edited["after"] != edited["before"]


def test_unlearning_trains_a_generator_that_undo_takes_back() -> None:
    session = toys.session()
    client = toys.client(session)
    before = ask(client, "compare", seed=3)["after"]
    trained = {name: value.clone() for name, value in session.loaded.model.generator.state_dict().items()}
    ask(client, "edit", what="off", slots=[0])
    table = ask(client, "edit", what="unlearn", slots=[0])
    assert table["state"][0] == 2 and table["steps"][-1] == "unlearned slot 0"
    moved = session.loaded.model.generator.state_dict()
    assert any(not torch.equal(value, moved[name]) for name, value in trained.items())
    compared = ask(client, "compare", seed=3)
    assert compared["before"] == before and compared["after"] != before
    assert any(not torch.equal(value, session.loaded.model.generator.state_dict()[name]) for name, value in trained.items())
    ask(client, "edit", what="forget", slots=[1])
    ask(client, "edit", what="undo")
    assert any(not torch.equal(value, session.loaded.model.generator.state_dict()[name]) for name, value in trained.items())
    ask(client, "edit", what="undo")
    assert all(torch.equal(value, session.loaded.model.generator.state_dict()[name]) for name, value in trained.items())
    assert client.post("/api/edit", json={"what": "unlearn", "slots": ask(client, "slots")["slot"]}).status_code == 409


def test_the_sliders_follow_the_generator_that_unlearning_trained() -> None:
    session = toys.session()
    client = toys.client(session)
    where = {"slots": [1, 1, 1, 1], "points": [[0.5, 0.5]], "amounts": [1.0]}
    ask(client, "square", **where)
    before = session.cache["directions"].rows
    ask(client, "edit", what="unlearn", slots=[0])
    ask(client, "square", **where)
    assert not torch.equal(session.cache["directions"].rows, before)
    ask(client, "edit", what="undo")
    ask(client, "square", **where)
    assert torch.equal(session.cache["directions"].rows, before)


def test_unlearning_is_refused_after_another_edit_but_not_after_data_were_read(monkeypatch: pytest.MonkeyPatch) -> None:
    from memogen.explorer import session as module

    session = toys.session()
    trained = module.unlearned

    def meanwhile(model: Any, slots: Any) -> Any:
        session.version += 1  # as when the data have been read
        if edits:
            session.change("off", [5])
        return trained(model, slots, steps=1)

    monkeypatch.setattr(module, "unlearned", meanwhile)
    for edits in (False, True):
        if edits:
            with pytest.raises(module.Refused, match="meanwhile"):
                session.unlearn([1])
        else:
            session.unlearn([0])
    assert [edit.description for edit in session.edits] == ["as it was trained", "unlearned slot 0"]


def test_the_last_real_slot_stays() -> None:
    session = toys.session()
    client = toys.client(session)
    slots = ask(client, "slots")["slot"]
    for what in ("off", "forget"):
        assert client.post("/api/edit", json={"what": what, "slots": slots}).status_code == 409
    assert set(ask(client, "slots")["state"]) == {0}


def test_the_edited_model_is_saved_where_a_place_was_given(tmp_path: Any) -> None:
    from memogen.pretrained import from_pretrained

    session = toys.session(out=tmp_path / "edited")
    client = toys.client(session)
    ask(client, "edit", what="forget", slots=[0])
    ask(client, "edit", what="off", slots=[3])
    ask(client, "save")
    saved = from_pretrained(tmp_path / "edited")
    torch.testing.assert_close(saved.sample(20, seed=5), session.loaded.model.sample(20, seed=5))
    assert not inspect.written(saved.memory)[[0, 3]].any()
    assert toys.client(toys.session()).post("/api/save", json={}).status_code == 409
