"""A session that follows a seed; run as a program it serves sessions to be killed.

As a program: ``python scripted_session.py SLIDE``. Each line on standard input names a journal; a
forked process then prints its pid, runs the script with that journal, prints "done" and waits to
be killed; "over" follows. So one start of the interpreter serves many kills.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from histosam_core.annotation import AnnotatedRegion
from histosam_core.errors import EmptyMaskError
from histosam_core.geometry import Region
from histosam_core.session import MemoryStore, Session
from histosam_core.session.journal import JournalWriter
from histosam_core.slide import Slide, open_slide

WHOLE = Region((0.0, 0.0), (800, 600), 1.0)
N_OPERATIONS = 70
SEED = 9


def smooth_model() -> Any:
    """The smooth model of conftest.py, also where pytest does not run."""
    path = Path(__file__).with_name("conftest.py")
    spec = importlib.util.spec_from_file_location("inference_conftest", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.SmoothModel()


def run(
    slide: Slide,
    journal: JournalWriter | None,
    *,
    model: Any = None,
    seed: int = SEED,
    n: int = N_OPERATIONS,
    after: Callable[[Session], None] = lambda session: None,
) -> Session:
    """Do `n` things to a session as the seed has it; call `after` when each is done."""
    rng = np.random.default_rng(seed)
    session = Session(slide, model or smooth_model(), store=MemoryStore(), journal=journal)
    after(session)
    for _ in range(n):
        # Sooner or later everything is done, and clicks most often.
        kinds = (
            ["click"] * 8 + ["grow"] * 4 + ["undo", "undo", "redo", "redo", "move", "remove", "box"]
        )
        kinds += ["accept", "accept", "drop", "reopen", "relabel", "delete", "import", "refine"]
        _do(str(rng.choice(kinds)), session, rng)
        after(session)
    return session


def state_of(session: Session) -> tuple[Any, ...]:
    """What must be the same after a restore; ids are made by chance and are not."""
    objects = [
        (o.label, o.prompts, o.geometry.wkt, o.area_mm2, o.quality, o.windows)
        for o in (*session.objects, *([session.reopened] if session.reopened else ()))
    ]
    mask = session.mask_region(WHOLE)[0]
    return session.prompts, mask.tobytes(), objects, session.reopened is not None


def _do(kind: str, session: Session, rng: np.random.Generator) -> None:
    x, y = (float(v) for v in rng.uniform((150, 350), (1450, 650)))
    clicks = [i for i, p in enumerate(session.prompts) if hasattr(p, "xy")]
    held = session.objects
    if kind in ("undo", "redo", "drop"):
        getattr(session, kind)()
    elif kind == "grow":
        session.grow(int(rng.integers(1, 6)))
    elif kind == "box":
        w, h = rng.uniform(20, 500, 2)
        session.box((x, y, x + w, y + h))
    elif kind == "move" and clicks:
        session.move_click(int(rng.choice(clicks)), (x, y))
    elif kind == "remove" and session.prompts:
        session.remove_prompts([int(rng.integers(len(session.prompts)))])
    elif kind == "accept" and session.prompts:
        rule = str(rng.choice(["allow", "keep_earlier", "keep_later"]))
        try:
            session.accept(
                str(rng.choice(["Tumor", "Stroma"])),
                overlap=rule,  # type: ignore[arg-type]
                min_island_px=int(rng.integers(0, 40)),
            )
        except EmptyMaskError:
            session.drop()
    elif kind == "import":
        session.add_objects([AnnotatedRegion(WHOLE_BOX.buffer(-300), label="Normal")])
    elif kind == "refine":
        session.refine(WHOLE_BOX.buffer(-400))
    elif kind in ("reopen", "delete", "relabel") and held:
        one = held[int(rng.integers(len(held)))]
        getattr(session, kind)(one, *(["Necrosis"] if kind == "relabel" else []))
    else:
        session.click((x, y), bool(rng.random() < 0.7))


def _box() -> Any:
    import shapely

    return shapely.box(-0.5, -0.5, 1599.5, 1199.5)


WHOLE_BOX = _box()


def main() -> None:
    """Serve sessions until standard input ends."""
    slide, model = open_slide(sys.argv[1], mpp=0.5), smooth_model()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            print(os.getpid(), flush=True)
            run(slide, JournalWriter(line.strip()), model=model)
            print("done", flush=True)
            signal.pause()
        os.waitpid(pid, 0)
        print("over", flush=True)


if __name__ == "__main__":
    main()
