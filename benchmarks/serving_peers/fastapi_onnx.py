"""FastAPI as its documentation shows it: pydantic models in, a dictionary out; onnxruntime scores.

fastapi_onnx.py MODEL.onnx PORT
"""

# It runs in an environment of its own.
# mypy: ignore-errors

import sys

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, create_model

FEATURES = 20
Row = create_model("Row", **{f"x{n}": (float, ...) for n in range(FEATURES)})


class Body(BaseModel):
    """A request."""

    instances: list[Row]


class Answer(BaseModel):
    """An answer."""

    predictions: list[float]


options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options)
app = FastAPI()


@app.post("/predict")
async def predict(body: Body) -> Answer:
    """Score."""
    rows = np.array([list(row.model_dump().values()) for row in body.instances], np.float32)
    return Answer(predictions=session.run(None, {"input": rows})[0].ravel().tolist())


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
