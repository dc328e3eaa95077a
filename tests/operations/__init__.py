"""Operations: what each does, races, lives."""
