"""A job's events folded into curves: what comes twice, what is cut off, what is no number."""

from __future__ import annotations

from typing import Any

import pytest

from napari_histosam.jobs.history import Curve, History


class Told:
    """A job of which events are known."""

    kind = "finetune"

    def __init__(self, *events: dict[str, Any]) -> None:
        self.events = list(events)

    def read_events(
        self, offset: int = 0, *, limit: int | None = None
    ) -> tuple[list[dict[str, Any]], int]:
        return self.events[offset:], len(self.events)


def step(number: int, loss: float | None = 0.5, **more: Any) -> dict[str, Any]:
    return {
        "event": "step", "step": number, "steps": 40, "epochs": 4, "loss": loss, "iou": 0.7, **more
    }  # fmt: skip


def validation(epoch: int, noc85: float, *, is_best: bool = False) -> dict[str, Any]:
    return {"event": "validation", "epoch": epoch, "noc85": noc85, "is_best": is_best}


def folded(*events: dict[str, Any]) -> History:
    history = History(Told(*events))  # type: ignore[arg-type]
    history.update()
    return history


def test_steps_and_validations_become_curves_over_epochs() -> None:
    history = folded(
        {"event": "start"},
        validation(0, 9.0),
        step(5, seconds_left=70.0),
        step(10),
        validation(1, 8.0, is_best=True),
    )
    assert history.loss.xs == [0.5, 1.0]
    assert history.validation["noc85"] == Curve([0.0, 1.0], [9.0, 8.0])
    assert history.best_epoch == 1
    assert history.n_epochs == 1.5  # of 4: the axis grows with what is done
    assert history.notices == [
        "Before training: NoC@85 9.00",
        "Epoch 1: NoC@85 8.00, the best epoch so far",
    ]


def test_after_a_resume_what_is_done_again_replaces_what_was() -> None:
    history = folded(
        *(step(n, 1.0) for n in range(1, 16)),
        {"event": "progress", "done": 15, "total": 40},
        validation(1, 8.0),
        {"event": "start"},
        *(step(n, 2.0) for n in range(11, 13)),
        validation(1, 7.0),
    )
    assert history.loss.xs == [n / 10 for n in range(1, 13)]
    assert history.loss.ys == [1.0] * 10 + [2.0] * 2
    assert history.validation["noc85"].ys == [7.0]
    assert "Resumed" in history.notices


def test_a_value_that_is_no_number_is_left_out_of_its_curve() -> None:
    history = folded(step(1, None), step(2, 0.25))
    assert history.loss == Curve([0.2], [0.25])


def test_how_far_it_is_and_how_it_ended() -> None:
    told = Told({"event": "progress", "done": 10, "total": 40, "message": "epoch 1/4"}, step(10))
    history = History(told)  # type: ignore[arg-type]
    assert history.share_done is None
    assert history.update()
    assert not history.update()
    assert history.share_done == 0.25
    assert history.words == "epoch 1/4, step 10 of 40"
    told.events.append({"event": "result", "checkpoint": "best.safetensors"})
    history.update()
    assert history.share_done == 1.0
    assert history.result is not None
    assert history.result["checkpoint"] == "best.safetensors"


def test_an_evaluation_names_the_model_and_the_data() -> None:
    told = Told({"event": "progress", "title": "tiny on liver", "message": "2 of 5 done"})
    told.kind = "evaluate"
    history = History(told)  # type: ignore[arg-type]
    history.update()
    assert history.words == "tiny on liver: 2 of 5 done"


def test_an_end_says_whether_the_model_needs_fewer_clicks_than_before() -> None:
    def headline(before: float, best: float, **more: str) -> str:
        scores = {"before": {"noc85": before}, "best": {"noc85": best}, "best_epoch": 2}
        return folded({"event": "result", **scores, **more}).headline

    assert headline(5.5, 3.25) == "NoC@85 5.50 before, 3.25 after epoch 2"
    assert "needs more clicks than before: train longer" in headline(3.25, 5.5)
    assert headline(3.25, 5.5, headline="not promoted") == "not promoted"
    assert folded(step(1)).headline == ""


def test_a_smoothed_curve_is_the_running_mean() -> None:
    curve = Curve([float(i) for i in range(100)], [float(i % 2) for i in range(100)])
    smooth = curve.smoothed().ys
    assert smooth[0] == 0.0
    assert smooth[50] == pytest.approx(0.5)
    assert Curve([1.0], [3.0]).smoothed() == Curve([1.0], [3.0])
