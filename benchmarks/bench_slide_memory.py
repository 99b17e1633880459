"""Peak memory of opening a 100,000 x 100,000 slide and reading ten regions of it.

Run: ``python benchmarks/bench_slide_memory.py``. The slide is a few megabytes: its tiles share
their bytes. The reading happens in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_slide_read import peak_mb

SIZE_PX = 100_000
N_REGIONS = 10


def measure(path: Path) -> dict[str, float]:
    """Open, read ten regions at several resolutions and a thumbnail; return the peaks in MB."""
    import numpy as np

    from histosam_core.geometry import Region
    from histosam_core.slide import open_slide

    imported = peak_mb()
    rng = np.random.default_rng(2)
    with open_slide(path) as slide:
        for index in range(N_REGIONS):
            x, y = rng.uniform(0, 0.9 * SIZE_PX, 2)
            slide.read_region(Region((x, y), (1024, 1024), mpp=(0.5, 1.3, 2.0, 7.7)[index % 4]))
        slide.thumbnail(1024)
    return {"import_mb": imported, "peak_mb": peak_mb(), "above_import_mb": peak_mb() - imported}


def main() -> None:
    """Build the slide, measure in a new process, print the peaks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.file:
        print(json.dumps(measure(options.file)))
        return
    from repeated_slide import write_repeated_slide

    with tempfile.TemporaryDirectory() as folder:
        path = write_repeated_slide(Path(folder) / "large.svs", SIZE_PX, share_bytes=True)
        call = [sys.executable, __file__, "--file", str(path)]
        answer = subprocess.run(call, check=True, capture_output=True, text=True)
    result = json.loads(answer.stdout)
    if options.json:
        print(json.dumps(result))
        return
    print(
        f"{N_REGIONS} regions and a thumbnail of {SIZE_PX} x {SIZE_PX}: "
        f"peak {result['peak_mb']:.0f} MB, {result['above_import_mb']:.0f} MB above the import"
    )


if __name__ == "__main__":
    main()
