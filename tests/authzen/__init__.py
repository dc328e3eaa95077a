"""AuthZEN 1.0 item by item; the numbers in the tests' names are those of `docs/reference/authzen.md`."""
