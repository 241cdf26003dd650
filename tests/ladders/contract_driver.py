"""A driver for tests: trains the pilots of a study, and nothing after that; killed at will."""

import sys
from pathlib import Path

from isoflop._errors import InputError, IsoflopError
from isoflop.data import read_card
from isoflop.ladders import find_launcher, run_jobs
from isoflop.ladders.lock import exclusive
from isoflop.study import open_study
from isoflop.study.chain import own_trainer
from isoflop.study.links import ladder_of

# Steps of these trainings take milliseconds: nobody waits two seconds for Slurm's word.
_POLL_S = 0.25


def main(place: str) -> int:
    study = open_study(Path(place))
    launch = study.config.launch
    try:
        launcher = find_launcher(launch.launcher, launch)
        launcher.poll_s = min(launcher.poll_s, _POLL_S)
        with exclusive(study.path):
            run_jobs(
                list(ladder_of(study, read_card(study.data)).pilots),
                launcher=launcher,
                corpus=study.data,
                runs=study.runs,
                launch=launch,
                progress=lambda _share, _label: None,
                own=own_trainer(study),
            )
    except KeyboardInterrupt:
        return 130
    except IsoflopError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, InputError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
