"""The monitor job: measures every model that is due, keeps the values, and pushes them."""
