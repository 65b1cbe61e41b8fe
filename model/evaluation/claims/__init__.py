"""The paper's claims, tested on our runs: records of runs, effects between them, and the table of docs/claims."""

from .error_curves import draw_errors
from .paper import CLAIMS
from .run_records import RunRecord, read_records, store_record
from .table import claims_rows, claims_table

__all__ = ["CLAIMS", "RunRecord", "claims_rows", "claims_table", "draw_errors", "read_records", "store_record"]
