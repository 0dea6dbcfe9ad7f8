"""What a run leaves behind: metrics, pictures and tables, in files written whole or not at all."""

from metadip.files import (
    atomic_path,
    keep_earlier,
    locked,
    prepare_folder,
    remove_leftovers,
    write_json,
)
from metadip.metrics import lpips, nmse, psnr_db, reconstruction_metrics, ssim
from metadip.report.benchmark import Table, read_cells, write_benchmark
from metadip.report.curve_figures import save_curves
from metadip.report.figures import (
    comparison_panels,
    contact_sheet,
    measurement_picture,
    save_comparison,
    save_image,
)
from metadip.report.gif import FitGif
from metadip.report.loggers import wandb_logger
from metadip.report.online import log_run, log_table
from metadip.report.provenance import git_commit, machine, save_provenance
from metadip.report.run_page import write_run_page
from metadip.report.showing import show
from metadip.report.tables import markdown_table, write_csv
from metadip.report.writer import (
    ResultWriter,
    entry_of,
    finished_images,
    forget_results,
    mean_entry,
    merge_entries,
    missing_entries,
    results_table,
)

__all__ = [
    "FitGif",
    "ResultWriter",
    "Table",
    "atomic_path",
    "comparison_panels",
    "contact_sheet",
    "entry_of",
    "finished_images",
    "forget_results",
    "git_commit",
    "keep_earlier",
    "locked",
    "log_run",
    "log_table",
    "lpips",
    "machine",
    "markdown_table",
    "mean_entry",
    "measurement_picture",
    "merge_entries",
    "missing_entries",
    "nmse",
    "prepare_folder",
    "psnr_db",
    "read_cells",
    "reconstruction_metrics",
    "remove_leftovers",
    "results_table",
    "save_comparison",
    "save_curves",
    "save_image",
    "save_provenance",
    "show",
    "ssim",
    "wandb_logger",
    "write_benchmark",
    "write_csv",
    "write_json",
    "write_run_page",
]
