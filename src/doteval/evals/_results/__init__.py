"""The results of an evaluation: kept, added up, compared, shown."""
