"""Pages that open without a network, made of records."""

from geomem.report.demo import demo_page
from geomem.report.page import Picture, Section, Table, write_page

__all__ = ["Picture", "Section", "Table", "demo_page", "write_page"]
