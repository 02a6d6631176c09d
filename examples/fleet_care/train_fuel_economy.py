"""Train `fleet-care/fuel-economy`: miles per gallon of a car, from its data sheet.

Run it with `python -m examples.fleet_care.train_fuel_economy`.
"""

from sklearn.compose import make_column_transformer
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler
from vega_datasets import local_data

from modelyard.capture import About, Published, Sensitivity, main, package_url, publish

NAME = "fleet-care/fuel-economy"
FEATURES = {
    "cylinders": About("Number of cylinders", sensitivity=Sensitivity.PUBLIC),
    "displacement": About("Engine displacement", "in3", Sensitivity.PUBLIC),
    "horsepower": About("Engine power", "hp", Sensitivity.PUBLIC),
    "weight": About("Kerb weight", "lb", Sensitivity.PUBLIC),
    "acceleration": About("Time from 0 to 60 mph", "s", Sensitivity.PUBLIC),
    "year": About("Model year", sensitivity=Sensitivity.PUBLIC),
    "built_in": About("Region of the maker", sensitivity=Sensitivity.PUBLIC),
}
VERSIONS = (1,)


def train(version: int = VERSIONS[-1]) -> Published:
    """Train and publish `version`."""
    cars = local_data.cars().rename(
        columns={"Weight_in_lbs": "weight", "Origin": "built_in", "Miles_per_Gallon": "mpg"}
    )
    cars = cars.rename(columns=str.lower).dropna(subset=["mpg", "horsepower"])
    cars["year"] = cars["year"].dt.year
    known, unseen = train_test_split(cars, test_size=0.25, random_state=1)

    numbers = [name for name in FEATURES if name != "built_in"]
    model = make_pipeline(
        make_column_transformer(
            (make_pipeline(StandardScaler(), PolynomialFeatures(2, include_bias=False)), numbers),
            (OneHotEncoder(handle_unknown="ignore"), ["built_in"]),
        ),
        Ridge(alpha=1.0),
    ).fit(known[list(FEATURES)], known["mpg"])

    return publish(
        model,
        name=NAME,
        version=version,
        data=known,
        test=unseen,
        target="mpg",
        about=FEATURES,
        prediction="miles_per_gallon",
        unit="mi/gal",
        source=package_url("vega-datasets", "cars"),
        source_is="Three quarters of the cars with known fuel economy, model years 1970 to 1982",
        description="Fuel economy of a car, from its data sheet.",
    )


if __name__ == "__main__":
    main(train)
