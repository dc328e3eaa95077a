"""The record carried out: log, Parquet, FHIR."""
