"""The AuthZEN Authorization API 1.0 under `/access/v1`: routes, the forms of questions, page tokens, metadata."""
