"""Reports, letters, sheets and charts, and the notebooks that make them."""
