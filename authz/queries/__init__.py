"""The lists and details of the pages and of `/v1`; the PDP decides on each."""
