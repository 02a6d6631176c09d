"""The batch image: scores a table in one run of parallel shards, each row once. See README.md."""
