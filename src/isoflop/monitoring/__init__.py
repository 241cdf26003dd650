"""Watching a run: its whole curve was forecast before it began, and is judged point by point.

What to use when:
- `noise_of_pilots`: the pilots' curves and their fit -> how a healthy curve may deviate.
- `forecast_band`: a fit of whole curves and a planned run -> `Band`; `published_band` by
  published constants. `planned_run` reads the plan of one of our run folders.
- `freeze`, `read_frozen`: the band as `watch.json`, hashed, written once; `seal`: hashed only.
- `curve_of_folder`, `curve_of`: what the run has shown so far, ours or another tool's.
- `watched`: a run folder of ours, or a TOML file that plans what another tool records.
- `judge`: band and curve -> `Verdict`, with an alarm that holds its level however often one looks.
- `stop_or_go`: an estimate of final losses and a run -> go on, stop, or a larger model, with odds;
  `look_ahead`, `going_on`: the same by the law along a run, moved by the curve so far.
  `metric_gain`: what any metric still gains a doubling of tokens.
- `post`: a verdict to a webhook.
"""

from isoflop.monitoring.ahead import Ahead, GoingOn, going_on, look_ahead
from isoflop.monitoring.alarm import Alarm, Change, watch
from isoflop.monitoring.band import (
    STATED_NOISE,
    Band,
    Seen,
    forecast_band,
    published_band,
)
from isoflop.monitoring.calibrate import noise_of_pilots
from isoflop.monitoring.freeze import (
    WATCH_FILE,
    Frozen,
    freeze,
    read_frozen,
    seal,
    watch_path,
)
from isoflop.monitoring.noise import CurveNoise, Deviations, calibrate_noise
from isoflop.monitoring.planned import Planned, planned_run
from isoflop.monitoring.sources import MeasuredCurve, curve_of, curve_of_folder
from isoflop.monitoring.stop_or_go import StopOrGo, Way, metric_gain, stop_or_go
from isoflop.monitoring.verdict import EXIT_CODES, Verdict, judge
from isoflop.monitoring.watched import Watched, watched
from isoflop.monitoring.webhook import check_url, post

__all__ = [
    "EXIT_CODES",
    "STATED_NOISE",
    "WATCH_FILE",
    "Ahead",
    "Alarm",
    "Band",
    "Change",
    "CurveNoise",
    "Deviations",
    "Frozen",
    "GoingOn",
    "MeasuredCurve",
    "Planned",
    "Seen",
    "StopOrGo",
    "Verdict",
    "Watched",
    "Way",
    "calibrate_noise",
    "check_url",
    "curve_of",
    "curve_of_folder",
    "forecast_band",
    "freeze",
    "going_on",
    "judge",
    "look_ahead",
    "metric_gain",
    "noise_of_pilots",
    "planned_run",
    "post",
    "published_band",
    "read_frozen",
    "seal",
    "stop_or_go",
    "watch",
    "watch_path",
    "watched",
]
