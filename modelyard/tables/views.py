"""Views over the whole fleet, in BigQuery's dialect. People read these; the tables stay closed."""

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter


@dataclass(frozen=True)
class View:
    """One view. In `sql`, `{table}` stands for a shared table."""

    name: str
    description: str
    sql: str

    @property
    def reads(self) -> frozenset[str]:
        """Names of the tables it reads."""
        return frozenset(name for _, name, _, _ in Formatter().parse(self.sql) if name)

    def query(self, tables: Mapping[str, str]) -> str:
        """Return the statement.

        Args:
            tables: by name of a shared table, how the statement refers to it.
        """
        return self.sql.strip().format_map(tables)


MODELS = View(
    "models",
    "One row per model: newest published version, version in service, and when it was last deployed.",
    """
WITH published AS (
  SELECT team, model, version, created, description, task
  FROM {model_versions}
  QUALIFY ROW_NUMBER() OVER (PARTITION BY team, model ORDER BY version DESC) = 1
),
served AS (
  SELECT entry.team, entry.model, entry.version, deployment.time
  FROM {deployments} AS deployment, UNNEST(deployment.models) AS entry
  WHERE deployment.succeeded
  QUALIFY ROW_NUMBER() OVER (
    PARTITION BY entry.team, entry.model ORDER BY deployment.time DESC, entry.percent DESC
  ) = 1
)
SELECT
  team,
  model,
  published.description,
  published.task,
  published.version AS newest_version,
  published.created AS newest_created,
  served.version AS served_version,
  served.time AS last_deployed
FROM published
FULL JOIN served USING (team, model)
""",
)

USAGE = View(
    "usage_daily",
    "Predictions, failures and distinct callers per model version and day. Callers are counted, not named.",
    """
SELECT
  TIMESTAMP_TRUNC(hour, DAY) AS day,
  team,
  model,
  version,
  pattern,
  SUM(predictions) AS predictions,
  SUM(errors) AS errors,
  COUNT(DISTINCT caller) AS callers
FROM (
  SELECT * FROM {prediction_usage}
  QUALIFY RANK() OVER (PARTITION BY hour, team, model, version ORDER BY computed DESC) = 1
)
GROUP BY day, team, model, version, pattern
""",
)

ADOPTION = View(
    "adoption",
    "Predictions and callers of each model in the last 30 days against the 30 days before.",
    """
SELECT
  team,
  model,
  SUM(IF(hour >= cut, predictions, 0)) AS predictions,
  SUM(IF(hour < cut, predictions, 0)) AS predictions_before,
  COUNT(DISTINCT IF(hour >= cut, caller, NULL)) AS callers,
  COUNT(DISTINCT IF(hour < cut, caller, NULL)) AS callers_before
FROM (
  SELECT team, model, hour, caller, predictions, TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 30 DAY) AS cut
  FROM {prediction_usage}
  WHERE hour >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 60 DAY)
  QUALIFY RANK() OVER (PARTITION BY hour, team, model, version ORDER BY computed DESC) = 1
)
GROUP BY team, model
""",
)

METRICS = View(
    "metrics",
    "Every metric of every window once: a window that was computed again counts as computed last.",
    """
SELECT
  window_start,
  window_end,
  team,
  model,
  version,
  family,
  metric,
  feature,
  value,
  threshold,
  row_count,
  detail
FROM {metric_values}
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY window_start, window_end, team, model, version, family, metric, feature ORDER BY computed DESC
) = 1
""",
)

ALERTS = View(
    "alerts",
    "One row per alert: when it opened, was acknowledged and closed, by whom, and for which cause.",
    """
SELECT
  alert_id,
  MAX_BY(key, time) AS key,
  ANY_VALUE(team) AS team,
  MAX_BY(model, IF(event IN ('opened', 'changed'), time, NULL)) AS model,
  MAX_BY(severity, time) AS severity,
  MAX_BY(owner, time) AS owner,
  MIN(IF(event = 'opened', time, NULL)) AS opened,
  MIN(IF(event = 'acknowledged', time, NULL)) AS acknowledged,
  IF(
    MAX(IF(event = 'closed', time, NULL)) >= MAX(IF(event = 'opened', time, NULL)),
    MAX(IF(event = 'closed', time, NULL)),
    NULL
  ) AS closed,
  MAX(IF(event = 'closed', cause, NULL)) AS cause
FROM {alert_events}
WHERE event != 'silenced'
GROUP BY alert_id
""",
)

MONITOR_HEALTH = View(
    "monitor_health",
    "The last run of each monitor family on each model, and the last that succeeded.",
    """
SELECT
  team,
  model,
  family,
  MAX(ended) AS last_run,
  MAX(IF(succeeded, ended, NULL)) AS last_success,
  MAX(IF(succeeded, window_end, NULL)) AS covered_until
FROM {monitor_runs}
GROUP BY team, model, family
""",
)

DEPLOYED = View(
    "deployed_models",
    "One row per deployment and model version in service after it: who, when, approved by whom.",
    """
SELECT
  deployment.deployment_id,
  deployment.time,
  deployment.environment,
  entry.team,
  entry.model,
  entry.version,
  entry.percent,
  entry.manifest_digest,
  entry.image_digest,
  deployment.actor,
  deployment.approved_by,
  deployment.repository,
  deployment.commit,
  deployment.plan_digest,
  deployment.succeeded
FROM {deployments} AS deployment, UNNEST(deployment.models) AS entry
""",
)

FLEET_VIEWS = (MODELS, USAGE, ADOPTION, METRICS, ALERTS, MONITOR_HEALTH, DEPLOYED)
