"""A command that counts instead of working: real events, real control, no torch.

python job_stand_in.py N SECONDS [--resume] [--broken | --fails] --events --control FILE
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from histosam_core.errors import ConfigError
from histosam_core.job_events import job_events


def main(arguments: list[str]) -> None:
    """Count to N, SECONDS apart, in the way the commands work."""
    control = Path(arguments[arguments.index("--control") + 1])
    with job_events("--events" in arguments, control) as job:
        if "--fails" in arguments:
            raise ConfigError("nothing can be counted; give a number")
        count, seconds = int(arguments[0]), float(arguments[1])
        with job.progress_bar("Counting") as progress:
            for done in range(1, count + 1):
                time.sleep(seconds)
                if "--broken" in arguments and done == 2:
                    sys.stdout.write('{"event": "progr')
                    sys.stdout.flush()
                    time.sleep(600)
                progress(done, count)
        job.result(counted=count, resumed="--resume" in arguments)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(1)
    except ConfigError as error:
        sys.exit(f"histosam: error: {error}")
