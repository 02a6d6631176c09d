"""The OpenAPI document of what a process serves: paths of its models, types and ranges of their features."""

from typing import Any

import msgspec

from serving_images.rest.inference import ID_LENGTH
from serving_images.rest.versions import Version, Versions
from serving_images.runtime.config import Feature
from serving_images.runtime.inputs import FLOAT32, INT64

Json = dict[str, Any]

_PROBLEMS = {
    "400": "The request is no HTTP, or its content no JSON",
    "408": "The request did not arrive in time",
    "413": "Too many bytes",
    "415": "The content is no JSON",
    "422": "Rows that do not fit the signature, or too many; `errors` says where and why",
    "500": "The model failed on rows that fit its signature",
    "503": "The server is stopping or has too much to do, or the prediction log takes no rows",
}
_CANARY = {
    "name": "x-modelyard-canary",
    "in": "header",
    "description": "`always` asks the canary, where there is one.",
    "schema": {"type": "string"},
}


def document(versions: Versions) -> bytes:
    """Return the document as JSON."""
    paths: Json = {
        "/healthz": _get("Whether the process lives", _object(live={"type": "boolean"})),
        "/readyz": _get("Whether requests should be sent here", _object(ready={"type": "boolean"}), "503"),
        "/metrics": {
            "get": {
                "summary": "Series, for Prometheus",
                "responses": {
                    "200": {
                        "description": "Text format of Prometheus",
                        "content": {"text/plain": {"schema": {"type": "string"}}},
                    }
                },
            }
        },
        "/openapi.json": _get("This document", {"type": "object"}),
        "/v2": _get("Open Inference Protocol: the server", {"type": "object"}),
        "/v2/health/live": _get("Whether the process lives", _object(live={"type": "boolean"})),
        "/v2/health/ready": _get(
            "Whether requests should be sent here", _object(ready={"type": "boolean"}), "503"
        ),
    }
    schemas: Json = {"Problem": _problem()}
    for name, numbers in versions.models.items():
        for number, version in numbers.items():
            schemas[_row_name(version)] = _row(version)
            _add(paths, f"{name}/versions/{number}", version, [])
        _add(paths, name, versions.stable(name), [_CANARY])
    if len(versions.models) == 1:
        (name,) = versions.models
        paths["/predict"] = paths[f"/models/{name}/predict"]
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Models: " + ", ".join(versions.models),
                "version": "2",
                "description": "Predictions on rows of named features. A row is logged before its answer.",
            },
            "paths": paths,
            "components": {"schemas": schemas},
        }
    )


def _add(paths: Json, path: str, version: Version, parameters: list[Json]) -> None:
    reference = {"$ref": f"#/components/schemas/{_row_name(version)}"}
    many = _object(
        instances={
            "type": "array",
            "items": reference,
            "minItems": 1,
            "maxItems": version.config.serving.max_rows,
        }
    )
    paths[f"/models/{path}/predict"] = {
        "post": {
            "summary": f"Predict {version.config.signature.prediction.name} of rows of named features",
            "parameters": parameters,
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"oneOf": [many, reference]}}},
            },
            "responses": {"200": _answer(_prediction(version)), **_problems()},
        }
    }
    base = f"/v2/models/{path}"
    paths[base] = _get("Open Inference Protocol: the model", {"type": "object"}, parameters=parameters)
    paths[f"{base}/ready"] = _get(
        "Whether the model answers", _object(ready={"type": "boolean"}), "503", parameters=parameters
    )
    paths[f"{base}/infer"] = {
        "post": {
            "summary": "Open Inference Protocol: predict rows given as tensors",
            "description": "A tensor `[rows]` per feature, or one `[rows, features]` that holds all; the "
            "schema shows one row. Tensors may be binary.",
            "parameters": parameters,
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": _inference(version)}},
            },
            "responses": {"200": _answer(_inferred()), **_problems()},
        }
    }


def _row_name(version: Version) -> str:
    return f"{version.name}-{version.number}-row"


def _row(version: Version) -> Json:
    strict = version.config.serving.out_of_range == "reject"
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [feature.name for feature in version.features if not feature.nullable],
        "properties": {feature.name: _feature(feature, strict) for feature in version.features},
    }


def _feature(feature: Feature, strict: bool) -> Json:
    schema: Json = _TYPES[feature.type]()
    said = [feature.description] if feature.description else []
    if feature.unit:
        said.append(f"Unit: {feature.unit}.")
    if feature.range:
        low, high = feature.range
        said.append(f"Training saw {low:g} to {high:g}.")
        if strict:
            schema |= {"minimum": low, "maximum": high}
    if feature.categories:
        shown = ", ".join(feature.categories[:20]) + (", ..." if len(feature.categories) > 20 else "")
        said.append(f"Training saw {shown}.")
        if strict:
            schema["enum"] = [*feature.categories, *([None] if feature.nullable else [])]
    if feature.nullable:
        schema["type"] = [schema["type"], "null"]
    return schema | ({"description": " ".join(said)} if said else {})


_TYPES: dict[str, Any] = {
    "bool": lambda: {"type": "boolean"},
    "int64": lambda: {"type": "integer", "minimum": -INT64, "maximum": INT64 - 1},
    "float64": lambda: {"type": "number", "minimum": -FLOAT32, "maximum": FLOAT32},
    "string": lambda: {"type": "string"},
    "timestamp": lambda: {"type": "string", "format": "date-time"},
}


def _prediction(version: Version) -> Json:
    value = {"type": [_TYPES[version.config.signature.prediction.type]()["type"], "null"]}
    text = {"type": "string"}
    model = {"model": {"const": version.name}, "version": {"type": "integer"}}
    flags = {"type": "array", "items": text, "description": "What is unusual, such as out_of_range:<feature>"}
    one = _object(**model, prediction_id=text, prediction=value)
    many = _object(
        **model,
        prediction_ids={"type": "array", "items": text},
        predictions={"type": "array", "items": value},
    )
    one["properties"]["flags"] = flags
    many["properties"]["flags"] = {"type": "array", "items": flags}
    return {"oneOf": [many, one]}


def _inference(version: Version) -> Json:
    tensors = []
    for feature in version.features:
        schema = _feature(feature, version.config.serving.out_of_range == "reject")
        datatype = {"bool": "BOOL", "int64": "INT64", "float64": "FP64"}.get(feature.type, "BYTES")
        tensors.append(
            _object(
                name={"const": feature.name},
                datatype={"const": datatype},
                shape={"const": [1]},
                data={"type": "array", "items": schema, "minItems": 1, "maxItems": 1},
            )
        )
    inputs = {
        "type": "array",
        "prefixItems": tensors,
        "items": False,
        "minItems": len(tensors),
        "maxItems": len(tensors),
    }
    schema = _object(inputs=inputs)
    schema["properties"]["id"] = {"type": "string", "maxLength": ID_LENGTH}
    return schema


def _inferred() -> Json:
    tensor = _object(
        name={"type": "string"},
        datatype={"type": "string"},
        shape={"type": "array", "items": {"type": "integer"}},
        data={"type": "array"},
    )
    answer = _object(
        model_name={"type": "string"},
        model_version={"type": "string"},
        id={"type": "string"},
        outputs={"type": "array", "items": tensor},
    )
    answer["properties"]["parameters"] = {"type": "object"}
    return answer


def _problem() -> Json:
    text = {"type": "string"}
    schema = _object(type=text, title=text, status={"type": "integer"}, detail=text)
    schema["properties"]["errors"] = {"type": "array", "items": _object(pointer=text, detail=text)}
    return schema


def _problems() -> Json:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {code: {"description": said, "content": content} for code, said in _PROBLEMS.items()}


def _object(**properties: Json) -> Json:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }


def _answer(schema: Json) -> Json:
    return {"description": "Answered", "content": {"application/json": {"schema": schema}}}


def _get(summary: str, schema: Json, *codes: str, parameters: list[Json] | None = None) -> Json:
    return {
        "get": {
            "summary": summary,
            "parameters": parameters or [],
            "responses": {"200": _answer(schema), **{code: _problems()[code] for code in codes}},
        }
    }
