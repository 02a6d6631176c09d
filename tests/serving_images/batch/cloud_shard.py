"""A shard on the BigQuery of the tests, as a process that can be killed; address, project, arguments.

The image finds BigQuery by the identity at hand, and the emulator has none.
"""

import sys

from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

import modelyard.warehouse
from serving_images.batch import plan
from serving_images.batch.__main__ import main

endpoint, project, *arguments = sys.argv[1:]
client = bigquery.Client(
    project=project,
    credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
    client_options=ClientOptions(api_endpoint=endpoint),
)
original = modelyard.warehouse.bigquery
modelyard.warehouse.bigquery = lambda _project, location=None: original(project, client, location=location)  # type: ignore[assignment,misc]
plan.CHUNK_ROWS = (70, 70)  # many chunks of few rows
sys.exit(main(arguments))
