"""The paper, reproduced and judged: experiments, claims, errata and their documents. A client of the library."""
