"""ClusterRunner: the same rows from workers as from here, and what happens when they die."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from histosam_core.clicks import User
from histosam_core.errors import ConfigError, SchedulerError
from histosam_core.evaluation import ClusterRunner, evaluate, evaluate_slides, read_records

from .slide_stand_ins import Brush, write_slide

pytest.importorskip("distributed")

ROOT = Path(__file__).resolve().parents[3]  # where workers find the stand-ins
SETTINGS: dict[str, Any] = {"name": "blob", "max_clicks": 6, "batch_size": 2}
Process = subprocess.Popen[bytes]


@dataclass
class Cluster:
    """A scheduler and its workers, each a process of its own."""

    address: str
    scheduler: Process
    workers: list[Process]

    def add_worker(self) -> None:
        self.workers.append(start("dask_worker", self.address, "--no-nanny", "--nthreads", "1"))


def start(program: str, *arguments: str) -> Process:
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.{program}", "--no-dashboard", *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"},
    )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    file = tmp_path_factory.mktemp("cluster") / "scheduler.json"
    where = ("--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
    scheduler = start("dask_scheduler", *where)
    made = Cluster("", scheduler, [])
    try:
        while not (file.exists() and file.stat().st_size):
            assert scheduler.poll() is None
            time.sleep(0.05)
        made.address = json.loads(file.read_text())["address"]
        made.add_worker()
        made.add_worker()
        yield made
    finally:
        for process in (scheduler, *made.workers):
            process.kill()
            process.wait()


@dataclass
class Slow:
    """Takes its time over a click, and leaves a file named after the process it lives in."""

    inner: Any
    folder: Path

    def encode(self, image: Any) -> Any:
        (self.folder / str(os.getpid())).touch()
        return self.inner.encode(image)

    def decode(self, *arguments: Any, **keywords: Any) -> Any:
        time.sleep(0.05)
        return self.inner.decode(*arguments, **keywords)


@pytest.fixture(autouse=True)
def _workers_may_start_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("histosam_core.evaluation.protocol.cluster.CONNECT_S", 120.0)


def rows(result: Any) -> list[Any]:
    """All that does not depend on the clock."""
    return [(p.index, p.patch_id, p.repeat, p.clicks, p.ious.tolist()) for p in result.patches]


def at_first_patch(action: Any) -> Any:
    def progress(done: int, total: int, message: str = "") -> None:
        if done == 1:
            action()

    return progress


def test_workers_give_the_same_rows(
    cluster: Cluster, batched_model: Any, store: Any, tmp_path: Path
) -> None:
    here = evaluate(batched_model, store, **SETTINGS)
    there = evaluate(
        batched_model, store, **SETTINGS, out=tmp_path / "run", scheduler=cluster.address
    )
    assert rows(there) == rows(here)
    assert there.header["checkpoint"] == here.header["checkpoint"]
    (read,) = read_records(tmp_path / "run")
    assert rows(read) == rows(here)
    assert read.is_complete
    assert len(list((tmp_path / "run" / "masks").iterdir())) == len(store)


def test_what_a_killed_worker_had_in_hand_is_done_by_another(
    cluster: Cluster, model: Any, store: Any, tmp_path: Path
) -> None:
    victim: list[int] = []

    def kill_one() -> None:
        busy = {int(path.name) for path in tmp_path.iterdir()}
        (process,) = [p for p in cluster.workers if p.pid in busy][:1]
        victim.append(process.pid)
        process.kill()
        process.wait()

    here = evaluate(model, store, **SETTINGS)
    there = evaluate(
        Slow(model, tmp_path),  # type: ignore[arg-type]
        store,
        **SETTINGS,
        scheduler=cluster.address,
        progress=at_first_patch(kill_one),
    )
    assert rows(there) == rows(here)
    cluster.workers = [p for p in cluster.workers if p.pid not in victim]
    cluster.add_worker()


def test_regions_of_slides_are_the_same_too(cluster: Cluster, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_slide(tmp_path, name, [(100, 100, 300, 160), (500, 300, 600, 400)])
    settings: dict[str, Any] = {"name": "brush", "max_clicks": 8, "min_area_mm2": 0}
    settings["user"] = User("jitter", sigma_px=3.0, repeats=2)
    here = evaluate_slides(Brush(), tmp_path, **settings)
    there = evaluate_slides(Brush(), tmp_path, **settings, scheduler=cluster.address)
    assert rows(there) == rows(here)
    assert there.header["dataset"] == here.header["dataset"]


def test_workers_load_the_decoder_that_is_named(cluster: Cluster) -> None:
    with ClusterRunner(cluster.address, "histosam-tiny@sam", device="cpu") as remote:
        described = remote.described
    assert (described["name"], described["decoder"]) == ("histosam-tiny", "sam")


def test_a_model_that_workers_do_not_find_is_named(cluster: Cluster, store: Any) -> None:
    with pytest.raises(SchedulerError, match=r"worker tcp.*no-such-model.*same paths"):
        evaluate("no-such-model", store, **SETTINGS, scheduler=cluster.address)


def test_another_version_of_this_program_is_refused(
    cluster: Cluster, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("histosam_core.evaluation.protocol.cluster.__version__", "99.0")
    with pytest.raises(SchedulerError, match=r"the client 99\.0; install the same version"):
        ClusterRunner(cluster.address, model).__enter__()


@dataclass
class Deadly:
    """Takes the process with it."""

    def encode(self, image: Any) -> Any:
        os._exit(1)

    def decode(self, *arguments: Any, **keywords: Any) -> Any:
        raise AssertionError


def test_deadly_work_is_given_up_and_no_worker_left_is_said(cluster: Cluster, store: Any) -> None:
    with ClusterRunner(cluster.address, Deadly(), patience_s=0.5) as remote:
        while remote.n_workers < 2:
            time.sleep(0.05)
        with pytest.raises(SchedulerError, match=r"one after another .* smaller --batch-size"):
            evaluate(remote, store[:1], **SETTINGS)
        for process in cluster.workers:
            process.wait()
        with pytest.raises(SchedulerError, match=r"no worker is left .* it goes on"):
            evaluate(remote, store[:1], **SETTINGS)
    cluster.workers.clear()
    cluster.add_worker()


def test_when_the_scheduler_goes_what_was_finished_is_kept(
    cluster: Cluster, model: Any, store: Any, tmp_path: Path
) -> None:
    """The last one: the scheduler does not come back."""
    out = tmp_path / "run"
    (tmp_path / "pids").mkdir()
    slow: Any = Slow(model, tmp_path / "pids")
    with pytest.raises(SchedulerError, match="is gone; start it again"):
        evaluate(
            slow,
            store,
            **SETTINGS,
            out=out,
            scheduler=cluster.address,
            progress=at_first_patch(cluster.scheduler.kill),
        )
    (kept,) = read_records(out)
    assert 1 <= len(kept.patches) < len(store)
    assert not kept.is_complete
    resumed = evaluate(slow, store, **SETTINGS, out=out)
    assert rows(resumed) == rows(evaluate(model, store, **SETTINGS))


def test_no_scheduler_is_said_within_the_time_allowed(model: Any) -> None:
    for address in ("tcp://127.0.0.1:9", "carrier-pigeon://roof:1"):
        with pytest.raises(SchedulerError, match="no dask scheduler answers"):
            ClusterRunner(address, model, timeout_s=0.5).__enter__()


def test_without_distributed_the_extra_to_install_is_named(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"napari-histosam\[cluster\]"):
        ClusterRunner("tcp://127.0.0.1:9", model).__enter__()
