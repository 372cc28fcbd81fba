"""Storage REMEMBERS. The only place that speaks SQL: rows in, records out, no decisions."""
