"""The record as files: the log, Parquet, FHIR."""
