"""The audit: questions, reports, notebooks, exports."""
