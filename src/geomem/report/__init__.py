"""Pages that open without a network, made of records."""

from geomem.report.audit import audit_page
from geomem.report.demo import demo_page
from geomem.report.page import Picture, Section, Table, write_page
from geomem.report.redraw import redraw

__all__ = ["Picture", "Section", "Table", "audit_page", "demo_page", "redraw", "write_page"]
