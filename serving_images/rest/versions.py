"""The versions that a process serves, and which of them a request means."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from serving_images.prediction_log.entry import LogSchema
from serving_images.runtime.config import Config
from serving_images.runtime.errors import Refused
from serving_images.runtime.inputs import Inputs
from serving_images.runtime.metrics import Metrics
from serving_images.runtime.model import OnlineModel


class Version:
    """One loaded version.

    Args:
        config: its settings.
        path: its verified ONNX file.
        metrics: counts what it answers.
    """

    def __init__(self, config: Config, path: Path, metrics: Metrics) -> None:
        self.config = config
        self.name = config.model
        self.number = config.version
        self.features = config.signature.features
        self.model = OnlineModel(config, path)
        self.inputs = Inputs(config)
        self.metrics = metrics.version(config.team, config.model, config.version)
        self.log_key = log_key(config)
        self.times = any(feature.type == "timestamp" for feature in self.features)


class Versions:
    """The versions of a process; it never changes, a reload makes another.

    Args:
        versions: all of them.
    """

    def __init__(self, versions: Iterable[Version]) -> None:
        self.models: dict[str, dict[int, Version]] = {}
        for version in sorted(versions, key=lambda each: (each.name, each.number)):
            self.models.setdefault(version.name, {})[version.number] = version

    def stable(self, name: str) -> Version:
        """Return the version that is no canary; of several, the latest."""
        numbers = self.models[name]
        return [each for each in numbers.values() if not each.config.canary][-1]

    def canary(self, name: str) -> Version:
        """Return the canary; the stable version where there is none."""
        canaries = [each for each in self.models[name].values() if each.config.canary]
        return canaries[-1] if canaries else self.stable(name)

    def all(self) -> list[Version]:
        """Return every version."""
        return [version for numbers in self.models.values() for version in numbers.values()]


def log_key(config: Config) -> str:
    """Return the key of the version's rows in the log."""
    return f"{config.team}/{config.model}/{config.version}"


def log_schema(config: Config, others: Sequence[Config] = ()) -> LogSchema:
    """Return what the version's rows look like; the table has the features of `others` of the model too."""
    features = tuple((feature.name, feature.type) for feature in config.signature.features)
    columns = dict(features)
    for other in others:
        if other.log.table == config.log.table:
            for feature in other.signature.features:
                columns.setdefault(feature.name, feature.type)
    return LogSchema(
        table=config.log.table,
        team=config.team,
        model=config.model,
        version=config.version,
        pattern=config.pattern,
        features=features,
        prediction=config.signature.prediction.type,
        columns=tuple(columns.items()),
        image_digest=config.image_digest or None,
        code_digest=config.manifest_digest or None,
    )


def check(configs: Sequence[Config]) -> None:
    """Refuse settings of which no process could serve all.

    Raises:
        Refused: a model has canaries only, or its versions log a feature with different types in one table.
    """
    types: dict[tuple[str, str], tuple[str, Config]] = {}
    for config in configs:
        if all(other.canary for other in configs if other.model == config.model):
            raise Refused(f"{config.key} is a canary beside no other version: load that too")
        if config.warehouse != configs[0].warehouse:
            raise Refused(
                f"{config.key} and {configs[0].key} have different warehouses: a process writes to one"
            )
        for feature in config.signature.features:
            kind, other = types.setdefault((config.log.table, feature.name), (feature.type, config))
            if kind != feature.type:
                raise Refused(
                    f"feature {feature.name} is {feature.type} in {config.key} and {kind} in {other.key}, "
                    f"and both log to {config.log.table}"
                )


def policies(configs: Sequence[Config]) -> Mapping[str, str]:
    """Return what each version does while the log takes no rows, by key."""
    return {log_key(config): config.serving.log_unavailable for config in configs}
