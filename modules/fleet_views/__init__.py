"""Views over the whole fleet: people read them, and need no access to the tables below."""

from collections.abc import Mapping, Sequence

from cdktf_cdktf_provider_google.bigquery_table import BigqueryTable, BigqueryTableView
from constructs import Construct

from modelyard.tables.views import FLEET_VIEWS
from modelyard.terraform_text import literal
from modules.dataset import Dataset


class FleetViews(Construct):
    """The fleet's views, in a dataset that is authorised on the datasets they read.

    One authorisation per dataset covers all views, however many there are.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.tables import DEPLOYMENTS, MODEL_VERSIONS
        from modules.dataset import Dataset
        from modules.fleet_views import FleetViews

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="p")
        common = {"project": "p", "description": "", "location": "EU", "kms_key": "k",
                  "owner": "group:o@example.com"}
        tables = [MODEL_VERSIONS, DEPLOYMENTS]
        source = Dataset(stack, "source", dataset_id="source", tables=tables, labels={}, **common)
        fleet = Dataset(stack, "fleet", dataset_id="fleet", labels={}, **common)
        FleetViews(stack, "views", fleet=fleet, sources=[source], labels={})
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        fleet: dataset of the views.
        sources: datasets with the shared tables; a view whose tables are not all there is left out.
        labels: labels of the views.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        fleet: Dataset,
        sources: Sequence[Dataset],
        labels: Mapping[str, str],
    ) -> None:
        super().__init__(scope, construct_id)
        for source in sources:
            source.authorize(fleet)
        tables = {
            name: (f"`{source.project}.{source.dataset_id}.{name}`", table)
            for source in sources
            for name, table in source.tables.items()
        }
        for view in FLEET_VIEWS:
            if not view.reads <= tables.keys():
                continue
            BigqueryTable(
                self,
                view.name,
                project=fleet.project,
                dataset_id=fleet.dataset_id,
                table_id=view.name,
                description=view.description,
                view=BigqueryTableView(
                    query=literal(view.query({name: path for name, (path, _) in tables.items()})),
                    use_legacy_sql=False,
                ),
                labels=dict(labels),
                # A view holds no data.
                deletion_protection=False,
                # BigQuery checks a view's tables when it is made.
                depends_on=[fleet.resource, *(tables[name][1] for name in sorted(view.reads))],
            )
