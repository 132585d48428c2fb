"""The command line as a user meets it: help without torch, names, exit codes, one line per error, nothing left behind."""

from __future__ import annotations

import argparse
import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest
import yaml

from memogen import cli, configs
from memogen.cli import parser
from memogen.cli.options import HIDDEN
from memogen.cli.table import COMMANDS
from memogen.errors import InputError
from memogen.recipes import RECIPES
from tests.command import run

ROOT = Path(__file__).parents[1]


def toy(
    model: str, *, num: Annotated[int, "how many"] = 3, in_: Literal["keys", "noise"] = "keys", dry_run: bool = False, others: Mapping[str, str]
) -> int:
    """A command for the tests."""
    print(model, num, in_, dry_run, dict(others))
    return 7


# --- help is quick: it never imports torch ---


def test_help_does_not_import_torch() -> None:
    """The quick answer: measured by what is imported, as seconds depend on the machine."""
    lines = ["--help", "--version", "memory", *(f"{name} --help" for name in COMMANDS)]
    script = f"import sys; from memogen.cli import main; print([main(line.split()) for line in {lines!r}]); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str([0] * len(lines))


def test_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("--help", capsys)
    assert code == 0
    assert all(f"  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_help_explains_every_option(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(f"{name} --help", capsys)
    built, names = parser.build(name, COMMANDS[name])
    hidden = {option for action in built._actions if action.help == HIDDEN for option in action.option_strings}
    assert all((option in out) is (option not in hidden) for option in names)
    assert all(action.help for action in built._actions), "every option has a help text"
    assert "(default: )" not in out and "(default: None)" not in out


# --- a signature is a command line ---


def test_signature_is_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert parser.call("toy", toy, ["m", "--num=5", "--in", "noise", "--dry-run", "--a.b", "-3", "--a.c"]) == 7
    assert capsys.readouterr().out.strip() == "m 5 noise True {'a.b': '-3', 'a.c': 'true'}"


@pytest.mark.parametrize(("words", "told"), [("m --num x", "--num"), ("m --in sideways", "--in"), ("", "MODEL"), ("m n", "n")])
def test_wrong_values_are_usage_errors_of_one_line(words: str, told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)) as caught:
        parser.call("toy", toy, words.split())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name, function in COMMANDS.items() if "seed" in inspect.signature(function).parameters])
def test_a_seed_is_not_negative(name: str) -> None:
    (seed,) = (action for action in parser.build(name, COMMANDS[name])[0]._actions if "--seed" in action.option_strings)
    assert callable(seed.type)
    with pytest.raises(argparse.ArgumentTypeError, match="too small; give 0 or more"):
        seed.type("-1")


# --- names ---


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("trian memory_gan/digits", "train"),
        ("memory usages x", "usage"),
        ("sample x --nun 3", "--num"),
        ("sample x --ou y", "--out"),
        ("data lst", "list"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(words, capsys)
    assert code == 2
    assert f"did you mean '{told}'" in err
    assert not out and err.count("\n") == 1


@pytest.mark.parametrize("words", ["sample x --nu 3", "sample x --see 1"])
def test_abbreviations_are_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words, capsys)[0] == 2


CONFIG = {"recipe": "r", "model": {"memory": {"num_slots": 64, "top_k": 8}, "name": "a", "head": None}, "training": {"steps": 10, "rate": 0.1}}


def test_override_sets_the_named_leaf_only() -> None:
    changed = configs.override(CONFIG, {"model.memory.num_slots": "128", "training.rate": "0.5", "model.name": "12"})
    assert changed["model"]["memory"] == {"num_slots": 128, "top_k": 8}
    assert changed["training"] == {"steps": 10, "rate": 0.5}
    assert changed["model"]["name"] == "12", "a text stays a text"
    assert CONFIG["model"]["memory"]["num_slots"] == 64, "the original is untouched"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("model.memory.num_slot", "model.memory.num_slots"),
        ("num_slots", "model.memory.num_slots"),
        ("step", "training.steps"),
        ("model.memry.top_k", "model.memory.top_k"),
        ("model.head.width", "model.head is null"),
        ("zzz", "no such option"),
    ],
)
def test_override_refuses_unknown_names(name: str, told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        configs.override(CONFIG, {name: "1"})


# --- exit codes ---


def raising(error: BaseException) -> Mapping[str, object]:
    def broken() -> None:
        """Fail."""
        raise error

    return {"broken": broken}


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (InputError("x: wrong: mend it"), 2, "x: wrong: mend it"),
        (RuntimeError("a\nb"), 1, "RuntimeError: a b"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_exit_codes(error: BaseException, code: int, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memogen.cli.table.COMMANDS", raising(error))
    got, out, err = run("broken", capsys)
    assert got == code
    assert told in err and "Traceback" not in err and not out
    assert len(err.strip().splitlines()) == 1


def test_input_errors_of_the_library_are_the_users(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memogen.cli.table.COMMANDS", raising(InputError("folder: empty: put images there")))
    code, _, err = run("broken", capsys)
    assert (code, err) == (2, "memogen: folder: empty: put images there\n")


@pytest.mark.parametrize("words", ["train memory_gan/digits --out taken", "train memory_gan/digits --out taken/below"])
def test_an_out_that_cannot_be_a_folder_is_the_users(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("a file")
    code, _, err = run(words, capsys)
    assert code == 2
    last = err.strip().splitlines()[-1]
    assert last.startswith("memogen: taken") and "bug in memogen" not in last


def test_of_several_processes_one_says_that_the_training_stopped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from memogen.training import Stopped

    monkeypatch.setattr("memogen.cli.table.COMMANDS", raising(Stopped(3, 9, Path("checkpoints/step-00000003"))))
    for rank, told in (("0", 1), ("1", 0)):
        monkeypatch.setenv("RANK", rank)
        code, _, err = run("broken", capsys)
        assert (code, err.count("stopped after step 3 of 9")) == (130, told)


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memogen.cli.table.COMMANDS", raising(RuntimeError("inside")))
    code, _, err = run("broken --debug", capsys)
    assert code == 1
    assert "Traceback" in err


# --- bad input leaves nothing behind ---


@pytest.mark.parametrize(
    "words",
    [
        "sample nowhere --out new/x.png",
        "sample . --out new/x.png",
        "sample nowhere --out new/x.docx",
        "interpolate nowhere --out new/x.gif",
        "memory usage nowhere --out new/x.png",
        "neighbours nowhere --data digits --out new/x.png",
        "report nowhere",
        "evaluate nowhere --data digits",
        "train no/such_recipe --out new",
        "train missing.yaml --out new",
        "train memory_gan/digits --variant best --out new",
        "train memory_gan/digits --fidelity paper --out new",
        "train memory_gan/digits --model.memory.num_slot 4 --out new",
        "train memory_gan/digits --model.memory.num_slots many --out new",
        "train memory_gan/digits --training.steps -4 --out new",
        "train memory_gan/digits --seed -1 --out new",
        "train memory_gan/digits --scoring.seed -1 --out new",
        "train memory_gan/digits --data.options.split_seed -1 --out new",
        "train mem_vae/digits --scoring.model.binarisation_seed -1 --out new",
        "train replay_gan/digits --succession.tasks.order_seed -1 --out new",
        "sample digits --seed -1 --out new/x.png",
        "reproduce no/such_table --out new",
        "reproduce memory_gan/table2 --budget tiny --out new",
        "reproduce memory_gan/table2 --variants best --out new",
        "reproduce memory_gan/table2 --seeds 0 --out new",
        "reproduce memory_gan/table2 --data nowhere --out new",
        "report nowhere --out new.html",
        "data check --data nowhere",
        "data check --data digits --size large",
        "data prepare --data digits --fit resize",
        "data prepare --data no_such_data",
    ],
)
def test_bad_input_leaves_nothing_behind(words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(words, capsys)
    assert code == 2, err
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("recipe", "row"), [("memory_gan/digits", "paper"), ("replay_gan/mnist", "joint_replay_paper")])
def test_a_variant_under_another_name_is_answered_with_the_right_one(recipe: str, row: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(f"train {recipe} --fidelity paper --dry-run", capsys)
    assert (code, err.strip()) == (2, f"memogen: --fidelity paper: no such option (did you mean '--variant {row}'?)")


def test_a_policy_is_chosen_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    for words, policy in (("", "robust"), ("--model.memory.policy paper", "paper"), ("--variant code", "code")):
        assert yaml.safe_load(run(f"train memory_gan/digits {words} --dry-run", capsys)[1])["model"]["memory"]["policy"] == policy
    code, _, err = run("train memory_gan/digits --model.memory.policy papr --dry-run", capsys)
    assert code == 2 and "model.memory.policy: 'papr' is not a choice: did you mean 'paper'?" in err


# --- configurations ---


def test_dry_run_prints_a_configuration_that_trains_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("train memory_gan/digits --variant no_memory --training.steps 17 --dry-run", capsys)
    assert code == 0
    config = yaml.safe_load(out)
    assert config["training"]["steps"] == 17
    assert config["variant"] == "no_memory"
    path = tmp_path / "config.yaml"
    path.write_text(out)
    assert yaml.safe_load(run(f"train {path} --dry-run", capsys)[1]) == config


@pytest.mark.parametrize(
    ("words", "amount"),
    [
        ("memory_gan/digits --training.steps 17", "17 steps of 64 images, 1,088 in all"),
        ("replay_gan/mnist", "250 steps of 320 images for each of 10 tasks, 800,000 in all"),
        ("replay_gan/mnist --variant joint_training_half", "250 steps of 320 images for each of 5 tasks, joined in one, 400,000 in all"),
        ("replay_gan/folder", "250 steps of 320 images for each task"),
    ],
)
def test_a_dry_run_counts_the_images_that_a_run_reads(words: str, amount: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows of such runs say the same: see the columns ``steps`` and ``images`` of ``results/replay_gan/table1.jsonl``."""
    assert run(f"train {words} --dry-run", capsys)[1].splitlines()[0].endswith(f": {amount}")


def test_every_recipe_and_variant_has_a_complete_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    from typing import get_args, get_type_hints

    from memogen.recipes import RECIPES

    for recipe, function in RECIPES.items():
        for variant in get_args(get_type_hints(function)["variant"]):
            code, out, _ = run(f"train {recipe} --variant {variant} --dry-run", capsys)
            assert code == 0
            assert ("# data: none yet" in out) == recipe.endswith("/folder")


# --- tables ---


@pytest.mark.parametrize("words", ["reproduce", "reproduce --list", "reproduce memory_gan/table2 --list"])
def test_tables_are_listed(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(words, capsys)
    assert code == 0
    for part in ("memory_gan/table1", "memory_gan/table2", "no_mcgn", "WGAN-GP", "Unverified"):
        assert part in out


def test_a_dry_run_of_a_table_gives_the_commands_of_its_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The commands train the same: what they print under --dry-run is the configuration that the table would run."""
    from memogen import runs
    from memogen.recipes import read_recipe
    from memogen.runs import reproduce

    code, out, _ = run(f"reproduce memory_gan/table2/fashion_mnist --budget smoke --seeds 2 --data {tmp_path} --out new --dry-run", capsys)
    assert code == 0 and "8 of 8 runs" in out and not list(tmp_path.iterdir())
    commands = [line.strip() for line in out.splitlines() if line.startswith("  memogen train")]
    jobs = reproduce.plan("memory_gan/table2/fashion_mnist", budget="smoke", seeds=2, data=tmp_path).jobs
    assert len(commands) == len(jobs) == 8
    for command, job in zip(commands, jobs, strict=True):
        code, text, _ = run(f"{command.removeprefix('memogen ')} --dry-run", capsys)
        assert code == 0 and runs.config_hash(read_recipe(yaml.safe_load(text))) == runs.config_hash(job.recipe)


# --- the documents ---


def commands_in(path: Path) -> list[str]:
    """Every command line that a page shows, with its continuation lines and without its comment."""
    blocks = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", path.read_text(), flags=re.M | re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip().startswith("memogen ")]


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize(("page", "line"), [(page.name, line) for page in PAGES for line in commands_in(page)])
def test_every_command_in_the_documents_parses(page: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    def note(name: str, function: object, words: list[str]) -> int:
        built, names = parser.build(name, COMMANDS[name])
        own, others = parser.split(words, names)
        assert not others or name == "train", others
        built.parse_args(own)
        called.append(name)
        return 0

    monkeypatch.setattr(parser, "call", note)
    words = shlex.split(line, comments=True)[1:]
    assert cli.main([*words, "--debug"]) == 0
    assert called or "--help" in words


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("train memory_gan/digits --lr 1e-3", ("objective.critic.learning_rate", "objective.generator.learning_rate")),
        ("train memory_gan/digits --epochs 3", ("training.steps",)),
        ("train memory_gan/digits --hlep", ("--help",)),
        ("train memory_gan/digits --resmue never", ("--resume",)),
        ("train mypics", ("mypics", "memory_gan/folder", "--data")),
        ("train memory_gan/folder --data nowhere --dry-run", ("nowhere", "no such")),
        ("neighbours digits --data nowhere --out x.png", ("nowhere", "no such")),
        ("train memory_gan/digits --start_task 2", ("--start-tasks",)),
    ],
)
def test_what_others_call_it_is_answered_with_what_to_type(
    words: str, told: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mypics").mkdir()
    code, _, err = run(words, capsys)
    assert code == 2 and len(err.splitlines()) == 1 and all(part in err for part in told)


def test_short_options_are_those_of_the_training(capsys: pytest.CaptureFixture[str]) -> None:
    _, short, _ = run("train memory_gan/digits --steps 7 --batch-size 9 --seed 4 --device cpu --dry-run", capsys)
    long = "--training.steps 7 --training.batch_size 9 --training.seed 4 --training.device cpu"
    assert short == run(f"train memory_gan/digits {long} --dry-run", capsys)[1] and "steps: 7" in short


def test_help_of_a_command_and_the_list_of_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("help train", capsys)[:2] == run("train --help", capsys)[:2]
    code, out, _ = run("recipes", capsys)
    assert code == 0 and all(name in out for name in RECIPES)


def test_a_dry_run_says_the_shape_of_the_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "a.npz", x_train=np.random.default_rng(0).integers(0, 256, (20, 12, 10, 3), dtype=np.uint8))
    _, out, _ = run(f"train memory_gan/folder --data {tmp_path / 'a.npz'} --dry-run", capsys)
    assert yaml.safe_load(out)["model"]["image_shape"] == [3, 12, 10]
