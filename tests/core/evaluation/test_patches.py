"""Many patches: the clicks of one after the other, whatever shares a batch or a worker."""

from __future__ import annotations

import threading
import time

import pytest

from histosam_core.clicks import User
from histosam_core.errors import ConfigError
from histosam_core.evaluation import ClickRun, ProtocolSettings, run_clicks
from histosam_core.evaluation.protocol.batched import default_workers, run_patches

# The fixtures are classes of conftest.py, which cannot be imported by name here.

SETTINGS = ProtocolSettings(target_iou=0.8, max_clicks=9)


def equal(one: ClickRun, other: ClickRun) -> bool:
    return (
        one.clicks == other.clicks
        and one.ious.tolist() == other.ious.tolist()
        and bool((one.mask == other.mask).all())
    )


@pytest.mark.parametrize(("workers", "batch_size"), [(2, 2), (3, 8), (40, 1)])
@pytest.mark.parametrize(
    "user", [User(), User("jitter", 3.0, 2, seed=5), User("region", repeats=2)]
)
def test_workers_give_the_clicks_of_one_after_the_other(
    batched_model, store, user, workers, batch_size
) -> None:  # type: ignore[no-untyped-def]
    todo = [(i, repeat) for i in range(len(store)) for repeat in range(user.repeats)]
    runs = {
        (i, run.repeat): run
        for i, run in run_patches(
            batched_model, store, todo, SETTINGS, user=user, workers=workers, batch_size=batch_size
        )
    }
    assert sorted(runs) == todo
    for i, repeat in todo:
        patch = store[i]
        alone = run_clicks(
            batched_model,
            patch.image,
            patch.gt_mask,
            target_iou=0.8,
            max_clicks=9,
            user=user,
            rng=user.rng(patch.id, repeat),
        )
        assert equal(runs[i, repeat], alone)


def test_users_on_threads_give_the_same_clicks(batched_model, store, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    alone = dict(run_patches(batched_model, store, range(11), SETTINGS, batch_size=1))
    monkeypatch.setattr("histosam_core.evaluation.protocol.batched.n_cores", lambda: 4)
    seen = set()
    click = User.next_click

    def watched(self, *arguments, **options):  # type: ignore[no-untyped-def]
        seen.add(threading.current_thread().name)
        return click(self, *arguments, **options)

    monkeypatch.setattr(User, "next_click", watched)
    together = dict(run_patches(batched_model, store, range(11), SETTINGS, batch_size=11))
    assert all(equal(together[i], alone[i]) for i in range(11))
    assert any(name.startswith("users") for name in seen)


def test_repeats_that_follow_each_other_are_encoded_once(batched_model, store, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    encoded = []
    encode = type(batched_model).encode
    monkeypatch.setattr(
        type(batched_model), "encode", lambda self, image: encoded.append(1) or encode(self, image)
    )
    user = User("jitter", 3.0, repeats=4)
    todo = [(i, repeat) for i in range(5) for repeat in range(4)]
    runs = list(run_patches(batched_model, store, todo, SETTINGS, user=user, batch_size=3))
    assert len(runs) == 20
    assert len(encoded) == 5
    assert len({run.encode_s for i, run in runs if i == 2}) == 1


def test_what_a_worker_raises_is_raised_and_all_workers_end(batched_model, store) -> None:  # type: ignore[no-untyped-def]
    store[7] = type(store[7])(store[7].image, store[7].gt_mask[:-1], "short", "s")
    before = threading.active_count()
    with pytest.raises(ConfigError, match="patch short"):
        list(run_patches(batched_model, store, range(11), SETTINGS, workers=3, batch_size=1))
    assert threading.active_count() == before


def test_nobody_waits_for_runs_that_are_not_wanted(batched_model, store) -> None:  # type: ignore[no-untyped-def]
    slow = type(batched_model).decode

    def decode(*arguments, **options):  # type: ignore[no-untyped-def]
        time.sleep(0.001)
        return slow(batched_model, *arguments, **options)

    batched_model.decode = decode
    before = threading.active_count()
    runs = run_patches(batched_model, store, [0] * 500, SETTINGS, workers=2, batch_size=1)
    next(runs)
    runs.close()
    assert threading.active_count() == before
    assert len(batched_model.calls) < 500


def slowed(model):  # type: ignore[no-untyped-def]
    decode = type(model).decode

    def slow(*arguments, **options):  # type: ignore[no-untyped-def]
        time.sleep(0.002)
        return decode(model, *arguments, **options)

    model.decode = slow
    return model


def test_workers_wait_while_on_step_runs_and_while_a_run_is_taken(  # type: ignore[no-untyped-def]
    batched_model, store, monkeypatch
) -> None:
    monkeypatch.setattr("histosam_core.evaluation.protocol.threads.STEP_S", 0.001)
    calls = slowed(batched_model).calls
    computed_meanwhile = []

    def rest() -> None:
        before = len(calls)
        time.sleep(0.05)
        computed_meanwhile.append(len(calls) - before)

    n_steps = []

    def on_step() -> None:
        if not n_steps:
            rest()
        n_steps.append(1)

    for _ in run_patches(
        batched_model, store, range(11), SETTINGS, workers=2, batch_size=1, on_step=on_step
    ):
        if len(computed_meanwhile) < 3:
            rest()
    assert len(computed_meanwhile) == 3
    assert max(computed_meanwhile) <= 2  # the current steps; 50 would fit


@pytest.mark.parametrize("workers", [1, 2])
def test_what_on_step_raises_ends_the_work_between_two_clicks(  # type: ignore[no-untyped-def]
    batched_model, store, monkeypatch, workers
) -> None:
    monkeypatch.setattr("histosam_core.evaluation.protocol.threads.STEP_S", 0.001)
    settings = ProtocolSettings(target_iou=1.0, max_clicks=1000)
    calls = slowed(batched_model).calls
    before = threading.active_count()

    def on_step() -> None:
        if len(calls) >= 3:
            raise KeyboardInterrupt

    runs = run_patches(
        batched_model, store, range(11), settings, workers=workers, batch_size=1, on_step=on_step
    )
    with pytest.raises(KeyboardInterrupt):
        list(runs)
    assert threading.active_count() == before
    assert len(calls) < 1000


def test_on_a_cpu_on_step_follows_every_image_and_pauses_count_as_no_work(  # type: ignore[no-untyped-def]
    batched_model, store, monkeypatch
) -> None:
    batched_model.device = "cpu"
    encode, calls = type(batched_model).encode, []
    batched_model.encode = lambda image: calls.append("image") or encode(batched_model, image)
    now = [0.0]

    def on_step() -> None:
        calls.append("step")
        now[0] += 3600

    settings = ProtocolSettings(max_clicks=1)
    todo = range(3)
    runs = list(
        run_patches(
            batched_model, store, todo, settings, workers=1, clock=lambda: now[0], on_step=on_step
        )
    )
    assert calls == ["image", "step", "image", "step", "image", "step"]
    assert [run.wall_s.tolist() for _, run in runs] == [[0.0]] * 3


def test_models_that_are_not_known_to_bear_it_get_one_worker(model) -> None:  # type: ignore[no-untyped-def]
    assert default_workers(model) == 1


def test_the_networks_answers_in_workers_are_those_of_single_calls(store) -> None:  # type: ignore[no-untyped-def]
    torch = pytest.importorskip("torch")
    from histosam_core.model import SamModel, build_network, describe_network

    torch.manual_seed(3)
    network = build_network("histosam_tiny", decoder="sam", image_size=64)
    model = SamModel(network, describe_network(network, name="tiny"), "cpu")
    threads = torch.get_num_threads()
    settings = ProtocolSettings(max_clicks=4)
    runs = dict(run_patches(model, store, range(6), settings, workers=2, batch_size=2))
    assert torch.get_num_threads() == threads
    for i, run in runs.items():
        alone = run_clicks(model, store[i].image, store[i].gt_mask, max_clicks=4)
        assert run.ious == pytest.approx(alone.ious, abs=0.02)
        assert run.clicks[0] == alone.clicks[0]
