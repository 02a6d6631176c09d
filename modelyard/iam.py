"""What all parts know about Google's IAM."""

# Roles on everything of a project; the project grants none of them.
BASIC_ROLES = frozenset({"roles/owner", "roles/editor", "roles/viewer"})
# The internet, and whoever has a Google account.
EVERYONE = frozenset({"allUsers", "allAuthenticatedUsers"})
# Permissions to add rows to a BigQuery table, and neither to read it nor to delete it.
APPEND_ROWS = ("bigquery.tables.get", "bigquery.tables.updateData")
# Permissions to read, add, change and delete a table's rows, and not the table.
WRITE_ROWS = ("bigquery.tables.get", "bigquery.tables.getData", "bigquery.tables.updateData")
