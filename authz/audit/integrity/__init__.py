"""Whether the record is whole: verification, checkpoints, proofs, the verdict."""
