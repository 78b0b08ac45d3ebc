"""Figures: records in, matplotlib Figures out; nothing is computed here."""
