"""Tests of checkpoints: whole or passed over, never half believed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from raymmfl.checkpoint import KEEP, Checkpoints
from raymmfl.errors import RunError
from raymmfl.federation.aggregate import Flat
from raymmfl.federation.exchange import Bank, Embeddings
from raymmfl.federation.server import State
from raymmfl.federation.update import Memory

CLIENTS = ["Österreich/S1", "a b/S1+S2", "../../x/S2"]


def a_state(round_index: int) -> State:
    random = np.random.default_rng(round_index)
    bank = Bank(20)
    if round_index:
        rows = np.array([2, 5, 7])
        vectors = random.normal(size=(3, 4)).astype(np.float32)
        bank.store("S1", Embeddings(rows, vectors), round_index)
    flat = Flat(
        random.normal(size=9).astype(np.float32),
        random.normal(size=4).astype(np.float32),
        np.array([round_index, 3], np.int64),
    )
    memory: dict[str, Memory] = {
        name: {
            "norm.running_mean": random.normal(size=3).astype(np.float32),
            "norm.num_batches_tracked": np.array(round_index, np.int64),
        }
        for name in (CLIENTS if round_index else [])
    }
    return State(round_index, flat, bank, memory)


def save(folder: Path, last: int) -> Checkpoints:
    checkpoints = Checkpoints(folder)
    for round_index in range(last + 1):
        state = a_state(round_index)
        checkpoints.save(state, {"round": round_index, "note": "ä"}, list(state.memory))
    return checkpoints


def same(found: State, expected: State) -> None:
    assert found.round == expected.round
    assert found.bank.scenes == expected.bank.scenes
    for name in ("weights", "moments", "counters"):
        left, right = getattr(found.flat, name), getattr(expected.flat, name)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    assert set(found.bank.vectors) == set(expected.bank.vectors)
    for sensor, vectors in expected.bank.vectors.items():
        np.testing.assert_array_equal(found.bank.vectors[sensor], vectors)
        np.testing.assert_array_equal(found.bank.rounds[sensor], expected.bank.rounds[sensor])
    assert set(found.memory) == set(expected.memory)
    for client_id, memory in expected.memory.items():
        for key, array in memory.items():
            other = found.memory[client_id][key]
            assert other.shape == array.shape
            assert other.dtype == array.dtype
            np.testing.assert_array_equal(other, array)


@pytest.mark.parametrize("last", [0, 1, 4])
def test_the_newest_state_comes_back_whole(tmp_path: Path, last: int) -> None:
    save(tmp_path / "c", last)
    checkpoint, warnings = Checkpoints(tmp_path / "c").load()
    assert warnings == []
    assert checkpoint is not None
    same(checkpoint.state, a_state(last))
    assert checkpoint.report == {"round": last, "note": "ä"}


def test_nothing_saved_is_nothing_loaded(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "nowhere").load() == (None, [])
    Checkpoints(tmp_path / "nowhere").clean(0)


def test_two_are_kept_with_the_memory_they_need_and_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    save(folder, 5)
    assert KEEP == 2
    assert sorted(path.name for path in folder.iterdir()) == ["00004", "00005", "memory"]
    rounds = sorted(path.stem[-5:] for path in (folder / "memory").iterdir())
    assert rounds == ["00004"] * 3 + ["00005"] * 3
    assert all(path.is_file() for path in (folder / "memory").iterdir())
    assert not (tmp_path / "x").exists()  # a client's name is no path


def test_unchanged_memory_is_not_written_again(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    checkpoints = save(folder, 1)
    state = a_state(1)
    for round_index in (2, 3, 4):
        state = State(round_index, state.flat, state.bank, dict(state.memory))
        state.memory[CLIENTS[0]] = a_state(round_index).memory[CLIENTS[0]]
        checkpoints.save(state, {}, [CLIENTS[0]])
    rounds = sorted(path.stem[-5:] for path in (folder / "memory").iterdir())
    assert rounds == ["00001", "00001", "00003", "00004"]
    again = Checkpoints(folder)
    found, _ = again.load()
    assert found is not None
    same(found.state, state)
    # a resumed run goes on with what it read
    again.save(State(5, state.flat, state.bank, state.memory), {}, [])
    last, warnings = Checkpoints(folder).load()
    assert warnings == []
    assert last is not None
    assert set(last.state.memory) == set(CLIENTS)


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "truncated":
        path.write_bytes(content[:-3])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


@pytest.mark.parametrize("how", ["flipped", "truncated", "empty", "missing"])
@pytest.mark.parametrize("which", ["state.safetensors", "checkpoint.json", "memory"])
def test_a_damaged_checkpoint_is_passed_over_by_name(tmp_path: Path, which: str, how: str) -> None:
    folder = tmp_path / "c"
    save(folder, 3)
    path = folder / "00003" / which
    if which == "memory":
        path = next((folder / "memory").glob("*-00003.safetensors"))
    damage(path, how)
    checkpoint, warnings = Checkpoints(folder).load()
    assert checkpoint is not None
    same(checkpoint.state, a_state(2))
    (warning,) = warnings
    assert str(path) in warning
    assert "passed over" in warning


def test_every_byte_of_the_state_is_guarded(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    save(folder, 1)
    for name in ("state.safetensors", "checkpoint.json"):
        path = folder / "00001" / name
        whole = path.read_bytes()
        for place in range(0, len(whole), 7):
            content = bytearray(whole)
            content[place] ^= 0x10
            path.write_bytes(content)
            checkpoint, warnings = Checkpoints(folder).load()
            assert checkpoint is not None
            assert checkpoint.state.round == 0 or json.loads(content) == json.loads(whole)
            assert len(warnings) == 1 - checkpoint.state.round
        path.write_bytes(whole)


def test_two_damaged_ones_leave_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    save(folder, 3)
    for name in ("00002", "00003"):
        damage(folder / name / "state.safetensors", "flipped")
    checkpoint, warnings = Checkpoints(folder).load()
    assert checkpoint is None
    assert len(warnings) == 2


def test_another_format_is_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    save(folder, 0)
    path = folder / "00000" / "checkpoint.json"
    path.write_text(json.dumps({"sha256": "0", "body": {"format": 99}}))
    assert Checkpoints(folder).load()[0] is None
    path.write_text("[1, 2]")
    assert Checkpoints(folder).load()[0] is None


def test_what_a_crash_left_is_cleaned_and_round_numbers_are_not_reused(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    save(folder, 3)
    (folder / ".00004.tmp").mkdir()
    (folder / ".00004.tmp" / "state.safetensors").write_bytes(b"half")
    (folder / "memory" / ".x-00004.safetensors.tmp").write_bytes(b"half")
    (folder / "memory" / "orphan-00004.safetensors").write_bytes(b"whole, but not asked for")
    damage(folder / "00003" / "state.safetensors", "flipped")
    checkpoints = Checkpoints(folder)
    checkpoint, _ = checkpoints.load()
    assert checkpoint is not None
    checkpoints.clean(checkpoint.state.round)
    assert sorted(path.name for path in folder.iterdir()) == ["00002", "memory"]
    names = {path.name[-17:] for path in (folder / "memory").iterdir()}
    assert names == {"00002.safetensors"}
    checkpoints.save(a_state(3), {}, CLIENTS)
    found, warnings = Checkpoints(folder).load()
    assert warnings == []
    assert found is not None
    same(found.state, a_state(3))


def test_a_full_disk_is_an_error_that_leaves_the_last_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "c"
    checkpoints = save(folder, 1)

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("raymmfl.checkpoint.write_whole", full)
    with pytest.raises(RunError, match=r"round 2 could not be written to .*No space left"):
        checkpoints.save(a_state(2), {}, CLIENTS)
    monkeypatch.undo()
    found, warnings = Checkpoints(folder).load()
    assert warnings == []
    assert found is not None
    same(found.state, a_state(1))


def test_a_checkpoint_is_readable_where_it_was_moved_to(tmp_path: Path) -> None:
    save(tmp_path / "c", 2)
    shutil.move(tmp_path / "c", tmp_path / "elsewhere")
    found, warnings = Checkpoints(tmp_path / "elsewhere").load()
    assert warnings == []
    assert found is not None
