"""Weights are imported once, found by name or task, and checked against what they were."""

import hashlib
import multiprocessing
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import get_args

import pytest
import torch

from streamrestore import weights
from streamrestore.checkpoint import Model, read_checkpoint
from streamrestore.devices import DeviceKind
from streamrestore.errors import ConfigError, ModelError, OutputError
from streamrestore.mprnet import MPRNet, Widths
from streamrestore.tasks import Task
from streamrestore.weights import (
    find_weights,
    find_weights_for_all,
    import_weights,
    list_weights,
    verify_weights,
    write_weights,
)

WIDTHS = Widths(8, 4, 4, 1)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a package without weights."""
    monkeypatch.setenv("STREAMRESTORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "SHIPPED_FOLDER", tmp_path / "shipped")
    return tmp_path / "cache" / "weights"


@pytest.fixture
def given(tmp_path: Path) -> Path:
    return save(tmp_path / "given.pth", seed=1)


def save(path: Path, *, seed: int) -> Path:
    torch.manual_seed(seed)
    torch.save({"state_dict": MPRNet(WIDTHS).state_dict()}, path)
    return path


def ship(given: Path, name: str, task: Task = "derain") -> Path:
    weights.SHIPPED_FOLDER.mkdir(exist_ok=True)
    model = read_checkpoint(given, task=task, crop=128)
    return write_weights(replace(model, name=name, license="Apache-2.0"), weights.SHIPPED_FOLDER)


def test_nothing_at_hand() -> None:
    assert list_weights() == []
    assert verify_weights() == []
    with pytest.raises(ModelError, match=r"no weights for deblur.*weights import FILE.*non-commercial.*swz30/MPRNet"):
        find_weights("deblur")


def test_import_keeps_a_checked_copy(given: Path, cache: Path) -> None:
    entry = import_weights(given, task="derain", crop=64)
    assert (entry.name, entry.task, entry.crop, entry.widths) == ("given", "derain", 64, WIDTHS)
    assert entry.origin == "imported"
    assert entry.path == cache / "given" / "given.safetensors"
    assert entry.sha256 == hashlib.sha256(entry.path.read_bytes()).hexdigest()
    assert entry.source == f"given.pth, SHA-256 {hashlib.sha256(given.read_bytes()).hexdigest()}"
    assert list_weights() == [entry]
    given.unlink()
    found = find_weights("derain")
    assert (found.name, found.sha256) == ("given", entry.sha256)
    assert sorted(path.name for path in cache.iterdir()) == ["given"], "no scratch is left"


def test_the_recorded_hash_is_what_sha256sum_reads(given: Path) -> None:
    entry = import_weights(given, task="derain", crop=64)
    try:
        done = subprocess.run(["sha256sum", "-c", f"{entry.path.name}.sha256"], cwd=entry.path.parent, check=False)
    except FileNotFoundError:
        pytest.skip("sha256sum is not installed")
    assert done.returncode == 0


def test_importing_again_changes_nothing(given: Path, tmp_path: Path) -> None:
    entry = import_weights(given, task="derain", crop=64)
    before = entry.path.stat()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    copy = shutil.copy(given, elsewhere / "given.pth")
    assert import_weights(Path(copy), task="derain", crop=64) == entry
    assert import_weights(entry.path) == entry, "our own file says everything itself"
    after = entry.path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(("seed", "task", "crop"), [(2, "derain", 64), (1, "deblur", 64), (1, "derain", 128)])
def test_other_weights_of_the_same_name_need_another(
    given: Path, tmp_path: Path, seed: int, task: Task, crop: int
) -> None:
    first = import_weights(given, task="derain", crop=64)
    other = save(tmp_path / "other.pth", seed=seed)
    with pytest.raises(ConfigError, match="imported as given already: choose another name with --name"):
        import_weights(other, task=task, crop=crop, name="given")
    assert list_weights() == [first]
    import_weights(other, task=task, crop=crop, name="given-2")
    assert [entry.name for entry in list_weights()] == ["given", "given-2"]


@pytest.mark.parametrize("name", ["../up", ".hidden", "a/b", "-x", "a b", "x" * 65])
def test_names_that_are_no_names_are_refused(given: Path, cache: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be called"):
        import_weights(given, task="derain", crop=64, name=name)
    assert not cache.exists()


def test_task_and_crop_must_be_known(given: Path) -> None:
    with pytest.raises(ConfigError, match="--task TASK --crop 64"):
        import_weights(given, crop=64)


def test_what_is_no_checkpoint_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    text = tmp_path / "notes.pth"
    text.write_text("these are my notes")
    with pytest.raises(ModelError, match="neither"):
        import_weights(text, task="derain", crop=64)
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_is_told(given: Path, cache: Path) -> None:
    cache.parent.write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="STREAMRESTORE_CACHE"):
        import_weights(given, task="derain", crop=64)


def import_after(barrier: Barrier, path: Path, answers: "Queue[str]") -> None:
    barrier.wait()
    try:
        answers.put(import_weights(path, task="derain", crop=64, name="same").sha256)
    except ConfigError as error:
        answers.put(str(error))


def test_imports_at_once_do_not_mix(tmp_path: Path, cache: Path) -> None:
    context = multiprocessing.get_context("spawn")
    seeds = (1, 2, 2)
    barrier, answers = context.Barrier(len(seeds)), context.Queue()
    files = [save(tmp_path / f"{i}.pth", seed=seed) for i, seed in enumerate(seeds)]
    processes = [context.Process(target=import_after, args=(barrier, file, answers)) for file in files]
    for process in processes:
        process.start()
    told = [answers.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(timeout=60)
    (entry,) = list_weights()
    assert told.count(entry.sha256) in (1, 2), "one wins; its twin, if it has one, finds its own weights there"
    assert all(answer == entry.sha256 or "choose another name" in answer for answer in told)
    assert [verdict.problem for verdict in verify_weights()] == [None]
    assert [path.name for path in cache.iterdir()] == ["same"]


def test_shipped_weights_are_the_default(given: Path, tmp_path: Path) -> None:
    ship(given, "compact")
    import_weights(save(tmp_path / "mine.pth", seed=2), task="derain", crop=64)
    assert [(entry.name, entry.origin) for entry in list_weights()] == [("compact", "shipped"), ("mine", "imported")]
    assert find_weights("derain").name == "compact"
    assert find_weights("derain", "mine").name == "mine"
    with pytest.raises(ModelError, match="no weights for denoise"):
        find_weights("denoise")


@pytest.mark.parametrize(("device", "name"), [("cuda", "standard"), ("cpu", "compact"), ("mps", "compact")])
def test_of_two_shipped_the_one_that_suits_the_device_is_taken(given: Path, device: DeviceKind, name: str) -> None:
    ship(given, "derain-compact")
    assert find_weights("derain", device=device).name == "derain-compact"
    ship(given, "derain-standard")
    ship(given, "derain-odd")
    assert find_weights("derain").name == "derain-compact"
    assert find_weights("derain", device=device).name == f"derain-{name}"
    assert find_weights("derain", "derain-odd", device).name == "derain-odd"


def test_weights_for_all_tasks_in_the_order_they_are_run(given: Path, tmp_path: Path) -> None:
    for task in get_args(Task):
        ship(given, f"{task}-compact", task)
    model = read_checkpoint(given, task="derain", crop=64)
    assert [model.name for model in find_weights_for_all()] == ["denoise-compact", "derain-compact", "deblur-compact"]
    own = [str(write_weights(replace(model, name=name), tmp_path)) for name in ("own", "other")]
    assert [model.name for model in find_weights_for_all(own[:1])] == ["denoise-compact", "own", "deblur-compact"]
    with pytest.raises(ConfigError, match=r"two of the weights are for one task \(own for derain, other for derain\)"):
        find_weights_for_all(own)
    with pytest.raises(ConfigError, match="does not say its task and training crop"):
        find_weights_for_all([str(given)])


def test_a_shipped_name_cannot_be_taken(given: Path) -> None:
    ship(given, "compact")
    with pytest.raises(ConfigError, match="name of weights in the package"):
        import_weights(given, task="derain", crop=64, name="compact")


def test_of_several_one_must_be_named(given: Path, tmp_path: Path) -> None:
    import_weights(given, task="derain", crop=64)
    import_weights(save(tmp_path / "b.pth", seed=2), task="derain", crop=64)
    with pytest.raises(ModelError, match="name one of b, given"):
        find_weights("derain")
    assert find_weights("derain", "b").name == "b"


def test_a_file_can_be_named_if_it_says_everything(given: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not say its training crop: streamrestore weights import \S+given.pth"):
        find_weights("derain", str(given))
    model = read_checkpoint(given, task="deblur", crop=64)
    path = write_weights(replace(model, name="own"), tmp_path)
    assert find_weights("deblur", str(path)).crop == 64
    with pytest.raises(ConfigError, match="is for deblur"):
        find_weights("derain", str(path))


def test_an_unknown_name_is_told_with_the_known_ones(given: Path) -> None:
    import_weights(given, task="derain", crop=64)
    with pytest.raises(ModelError, match=r"givne is neither a file nor one of the weights at hand: given$"):
        find_weights("derain", "givne")


def damage_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def write_nan(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-4] + b"\xff" * 4)


def forget_hash(path: Path) -> None:
    path.with_name(path.name + ".sha256").unlink()


def empty_hash(path: Path) -> None:
    path.with_name(path.name + ".sha256").write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (damage_header, "is damaged"),
        (flip_a_bit, "the file was changed"),
        (write_nan, "NaN or infinity"),
        (Path.unlink, "cannot be read: No such file"),
        (forget_hash, "no readable SHA-256 file"),
        (empty_hash, "not what was recorded"),
    ],
)
@pytest.mark.parametrize("origin", ["shipped", "imported"])
def test_verify_finds(given: Path, origin: str, damage: Callable[[Path], None], problem: str) -> None:
    good = ship(given, "good", "denoise")
    shipped = origin == "shipped"
    path = ship(given, "bad") if shipped else import_weights(given, task="derain", crop=64, name="bad").path
    assert [verdict.problem for verdict in verify_weights()] == [None, None]
    damage(path)
    verdicts = {verdict.path: verdict.problem for verdict in verify_weights()}
    assert verdicts.pop(good) is None
    if damage is Path.unlink and shipped:
        assert not verdicts, "what the package does not hold it does not promise"
    else:
        assert problem in str(verdicts[path])


def test_a_damaged_import_is_told_when_imported_again(given: Path) -> None:
    entry = import_weights(given, task="derain", crop=64)
    damage_header(entry.path)
    with pytest.raises(ModelError, match=r"an earlier import is damaged: .* Delete \S+given and import again"):
        import_weights(given, task="derain", crop=64)


def test_a_model_found_is_the_model_given(given: Path) -> None:
    import_weights(given, task="derain", crop=64)
    before: Model = read_checkpoint(given, task="derain", crop=64)
    after = find_weights("derain", "given")
    assert all(torch.equal(after.tensors[name], value) for name, value in before.tensors.items())


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"STREAMRESTORE_CACHE": "/own"}, "/own/weights"),
        ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/streamrestore/weights"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/streamrestore/weights"),
        ({}, "/home/me/.cache/streamrestore/weights"),
    ],
)
def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str) -> None:
    for name in ("STREAMRESTORE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert weights.cache_folder() == Path(expected)
