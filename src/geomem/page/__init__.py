"""Pages that open without a network, made of records."""

from geomem.page.content import Box, Cell, Column, Page, Picture, Section, Table
from geomem.page.tables import cell_text, csv_rows, write_tables
from geomem.page.write import write_page, write_picture

__all__ = [
    "Box",
    "Cell",
    "Column",
    "Page",
    "Picture",
    "Section",
    "Table",
    "cell_text",
    "csv_rows",
    "write_page",
    "write_picture",
    "write_tables",
]
