"""Findings: what a record says, by key, as numbers and as sentences."""
