"""Pages that open without a network, made of records."""

from geomem.page.content import Box, Cell, Column, Page, Picture, Section, Table
from geomem.page.write import cell_text, csv_rows, write_page, write_tables

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
    "write_tables",
]
