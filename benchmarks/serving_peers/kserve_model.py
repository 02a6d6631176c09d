"""KServe's SDK with the model classes that its own servers have: XGBoost as in xgbserver, or ONNX.

kserve_model.py xgboost|onnx MODEL PORT
"""

# It runs in an environment of its own.
# mypy: ignore-errors

import sys

import numpy as np
from kserve import Model, ModelServer
from kserve.utils.utils import get_predict_input, get_predict_response

KIND, PATH, PORT = sys.argv[1:4]


class XGBoost(Model):
    """As python/xgbserver/xgbserver/model.py of KServe 0.21 does it."""

    def load(self):
        """Load the model."""
        import xgboost

        self._booster = xgboost.Booster(params={"nthread": 1}, model_file=PATH)
        self.ready = True
        return self.ready

    async def predict(self, payload, headers=None, response_headers=None):
        """Score."""
        import xgboost

        matrix = xgboost.DMatrix(get_predict_input(payload), nthread=1)
        return get_predict_response(payload, self._booster.predict(matrix), self.name)


class Onnx(Model):
    """The same with onnxruntime in XGBoost's place."""

    def load(self):
        """Load the model."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(PATH, options)
        self.ready = True
        return self.ready

    async def predict(self, payload, headers=None, response_headers=None):
        """Score."""
        rows = np.asarray(get_predict_input(payload), np.float32)
        return get_predict_response(payload, self._session.run(None, {"input": rows})[0].ravel(), self.name)


if __name__ == "__main__":
    model = {"xgboost": XGBoost, "onnx": Onnx}[KIND]("trees")
    model.load()
    ModelServer(http_port=int(PORT), enable_grpc=False, workers=1, access_log_format=None).start([model])
