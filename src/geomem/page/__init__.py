"""Pages that open without a network, made of records."""

from geomem.page.page import Picture, Section, Table, write_page

__all__ = ["Picture", "Section", "Table", "write_page"]
