"""Stands in for `histosam finetune`: the events of a training, its pace and its state; no torch.

Emits events of `epochs` epochs of 4 steps, `seed` milliseconds each. Copies the bundled model as
its checkpoint, and goes on at the step where it was stopped.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

from histosam_core.errors import ConfigError
from histosam_core.job_events import job_events

STEPS = 4


def main(arguments: list[str]) -> None:
    """Emit the events of a training."""
    settings = json.loads(Path(arguments[arguments.index("--config") + 1]).read_text())
    control = Path(arguments[arguments.index("--control") + 1])
    out, epochs = Path(settings["out"]), settings.get("epochs", 2)
    pace = settings.get("seed", 20) / 1000
    state, total = out / "state.pt", epochs * STEPS
    with job_events("--events" in arguments, control) as job:
        if settings["model"] == "sam_vit_h":
            raise ConfigError(
                "sam_vit_h is not downloaded; run histosam models --download sam_vit_h"
            )
        out.mkdir(parents=True, exist_ok=True)
        first = int(state.read_text()) + 1 if "--resume" in arguments else 1
        with job.progress_bar("Fine-tune") as progress:
            if first == 1:
                emit_validation(job, 0)
            for step in range(first, total + 1):
                time.sleep(pace)
                epoch = (step - 1) // STEPS + 1
                state.write_text(str(step))
                job.emit({
                    "event": "step", "epoch": epoch, "epochs": epochs, "step": step, "steps": total,
                    "loss": 1 / step, "iou": 1 - 1 / (step + 1), "learning_rate": 1e-4,
                    "seconds": step * pace, "seconds_left": (total - step) * pace,
                })  # fmt: skip
                if step % STEPS == 0:
                    emit_validation(job, epoch)
                    package = Path(__file__).parents[3] / "src/histosam_core/model/weights"
                    shutil.copy(package / "histosam-tiny.safetensors", out / "best.safetensors")
                progress(step, total, f"epoch {epoch}/{epochs}")
        job.result(checkpoint=str(out / "best.safetensors"), run_folder=str(out))


def emit_validation(job: object, epoch: int) -> None:
    """Emit a validation that gets better from epoch to epoch."""
    noc = {f"noc{k}": 10.0 - epoch + k / 20 for k in (80, 85, 90)}
    ious = {f"iou_{n}": 0.5 + 0.02 * epoch for n in ("1_click", "5_clicks", "last_click")}
    job.emit({"event": "validation", "epoch": epoch, **noc, **ious, "is_best": True})  # type: ignore[attr-defined]


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(1)
    except ConfigError as error:
        sys.exit(f"histosam: error: {error}")
